"""progress: a bar for a terminal, nothing for a file."""

import io

from omz_model_tools.progress import progress_on


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar_that_leaves_no_trace() -> None:
    terminal = Terminal()
    with progress_on(terminal)("x.bin", 4_000_000) as advance:
        advance(1_000_000)
    assert "x.bin:   0%|" in terminal.getvalue()
    assert "4.00M" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")
    assert "\n" not in terminal.getvalue()


def test_a_size_may_be_unknown() -> None:
    terminal = Terminal()
    with progress_on(terminal)("x.bin", None) as advance:
        advance(10)
    assert "x.bin" in terminal.getvalue()


def test_a_file_sees_nothing() -> None:
    stream = io.StringIO()
    with progress_on(stream)("x.bin", 4) as advance:
        advance(4)
    assert stream.getvalue() == ""
