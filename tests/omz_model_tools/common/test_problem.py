"""problem: what a disk refuses becomes one line about the right file."""

import errno
from pathlib import Path

import pytest

from omz_model_tools.common.problem import Problem, disk_problems, one_line

WHERE = Path("/there/x")


def line_of(error: BaseException, temporary: Path | None = None) -> str:
    with pytest.raises(Problem) as caught, disk_problems(WHERE, temporary):
        raise error
    return str(caught.value)


def test_which_file_it_is_about() -> None:
    full = (errno.ENOSPC, "No space left on device")
    assert line_of(OSError(*full)) == "/there/x: No space left on device"
    assert line_of(OSError(*full, "/other")) == "/other: No space left on device"
    assert line_of(OSError(*full, "/from", None, "/to")) == "/to: No space left on device"
    assert line_of(OSError(*full, "/part"), Path("/part")) == "/there/x: No space left on device"
    assert line_of(OSError("two\nlines")) == "/there/x: two lines"


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), KeyboardInterrupt(), ValueError("bug")])
def test_what_is_no_matter_of_the_disk_passes(error: BaseException) -> None:
    with pytest.raises(type(error)), disk_problems(WHERE):
        raise error


def test_one_line() -> None:
    assert one_line("Exception from x.cpp:1:\n  Check failed\n\n") == "Exception from x.cpp:1: Check failed"


def test_a_problem_prints_as_its_line() -> None:
    problem = Problem("what", "detail", "detail")
    assert (str(problem), problem.details) == ("what", ("detail", "detail"))
