"""progress: lines by hand without a terminal, a bar on a terminal."""

import io

import pytest

from gpt2_tools.common.progress import counted, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clock():
    """Return a clock that goes on by 10 s whenever one looks."""
    times = iter(range(0, 10_000, 10))
    return lambda: next(times)


def test_a_line_for_each_tenth_and_none_for_the_last():
    out = io.StringIO()
    assert list(counted("abcd", 4, "window", out, clock())) == list("abcd")
    assert out.getvalue().splitlines() == [
        "1 of 4 windows, 0:30 left",
        "2 of 4 windows, 0:20 left",
        "3 of 4 windows, 0:10 left",
    ]


def test_many_make_no_more_than_ten_lines():
    out = io.StringIO()
    assert list(counted(range(1000), 1000, "window", out, clock())) == list(range(1000))
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == [str(n) for n in range(100, 1000, 100)]


def test_a_terminal_gets_a_bar_that_leaves_no_line():
    out = Terminal()
    assert list(counted(range(3), 3, "window", out)) == [0, 1, 2]
    assert "0/3" in out.getvalue()
    assert "\n" not in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3600, "1:00:00"), (86399, "23:59:59")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
