"""Errors of the disk, of OpenVINO and of text decoding become one line about the right file."""

import errno
from pathlib import Path

import pytest

from omz_model_tools.common.problem import Problem, disk_problems, one_line, openvino_reason, utf8_text

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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Exception from src/a.cpp:84:\nCheck 'x' failed at src/b.cpp:1:\nno such\n  device\n\n", "no such device"),
        ("iostream error", "iostream error"),
        ("Exception from src/a.cpp:84:\n", "RuntimeError"),
        ("x" * 301, "x" * 300 + "..."),
    ],
)
def test_why_openvino_raised(text: str, reason: str) -> None:
    assert openvino_reason(RuntimeError(text)) == reason


def test_what_is_no_utf8_is_named_with_its_place() -> None:
    assert utf8_text("é".encode(), "x") == "é"
    with pytest.raises(Problem) as caught:
        utf8_text(b"caf\xe9", Path("a/x"))
    assert str(caught.value) == "a/x: expected UTF-8 text, got byte 0xe9 at 3"
