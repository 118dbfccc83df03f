"""in_order: work that really is at the same time, and output as if it had been one after the other."""

import errno
import io
import threading

import pytest

from omz_model_tools.common.guard import OutputLost
from omz_model_tools.common.in_order import in_order
from omz_model_tools.common.report import Report
from support import HANGS_AFTER


def follow_all(work, things, jobs: int) -> tuple[list[bool], str, str]:
    out, err = io.StringIO(), io.StringIO()
    with in_order(work, things, jobs, Report(out, err)) as follow_next:
        return [follow_next() for _ in things], out.getvalue(), err.getvalue()


def test_all_at_once_and_printed_in_order():
    together = threading.Barrier(3)

    def work(name: str, report: Report) -> bool:
        report.line(f"{name} begins")
        together.wait(HANGS_AFTER)
        report.error(f"{name} fails") if name == "b" else report.warning(name)
        report.section(name)
        return name != "b"

    expected_out = "".join(f"{name} begins\n========== {name}\n" for name in "abc")
    expected_err = "########## Warning: a\n########## Error: b fails\n########## Warning: c\n"
    assert follow_all(work, "abc", 3) == ([True, False, True], expected_out, expected_err)


def test_a_full_disk_behind_stdout_and_one_behind_stderr():
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def work(name: str, report: Report) -> bool:
        report.warning(name)
        if name == "b":
            report.line(name)
        return True

    with in_order(work, "ab", 2, Report(Full(), Full())) as follow_next:
        assert follow_next()
        with pytest.raises(OutputLost, match="stdout: cannot be written"):
            follow_next()


def test_no_more_at_once_than_wanted():
    running, most = [], []

    def work(number: int, report: Report) -> bool:
        running.append(number)
        most.append(len(running))
        running.remove(number)
        return True

    assert follow_all(work, range(50), 1)[0] == [True] * 50
    assert max(most) == 1


def test_what_the_work_raises_is_raised():
    def work(number: int, report: Report) -> bool:
        report.line(f"{number}")
        return 1 // number > 0

    with pytest.raises(ZeroDivisionError):
        follow_all(work, [1, 0, 1], 2)
