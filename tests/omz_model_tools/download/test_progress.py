"""Progress bars on a terminal, nothing in a file."""

import io

from omz_model_tools.download.progress import Bars, NoDisplay, TransferProgress, display_on


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def transfer(title: str, size: int | None, start: int = 0) -> TransferProgress:
    made = TransferProgress(title, size)
    made.begin(start)
    return made


def test_progress_separates_new_bytes_from_those_that_were_there() -> None:
    made = transfer("x", 100, 40)
    assert (made.start, made.done, made.running, made.moved) == (40, 40, True, False)
    made.reach(60)
    assert (made.start, made.done, made.moved) == (40, 60, True)
    made.reach(10)  # from scratch
    assert (made.start, made.done) == (10, 10)
    made.end()
    assert not made.running


def test_progress_of_a_retained_file_has_nothing_to_transfer() -> None:
    for size, done in ((100, 100), (None, 0)):
        made = TransferProgress("x", size)
        made.skip()
        assert (made.start, made.done, made.running, made.moved) == (done, done, False, False)


def test_a_terminal_sees_bars_that_leave_no_trace() -> None:
    terminal = Terminal()
    display = display_on(terminal)
    first, second = transfer("x.bin", 4_000_000), TransferProgress("y.bin", 1_000_000)
    display.show([first, second])
    first.reach(2_000_000)
    display.show([first, second])
    assert "x.bin:   0%|" in terminal.getvalue()
    assert "0.00/4.00M" in terminal.getvalue()
    assert "total:" in terminal.getvalue()
    assert "y.bin" not in terminal.getvalue()
    display.close()
    assert terminal.getvalue().endswith("\r")


def test_the_total_counts_what_is_to_come() -> None:
    """Of 10 MB 4 are there, of another file all; one more has 5 to go: 11 in all."""
    terminal = Terminal()
    display = Bars(terminal)
    there = TransferProgress("there", 7_000_000)
    there.skip()
    display.show(
        [transfer("x", 10_000_000, 4_000_000), there, TransferProgress("y", 5_000_000), transfer("unknown", None)]
    )
    with display.hidden():
        terminal.truncate(0)
    assert "/11.0M" in terminal.getvalue()
    assert "4.00M/10.0M" in terminal.getvalue()
    display.close()


def test_bars_make_room_for_text() -> None:
    terminal = Terminal()
    display = Bars(terminal)
    display.show([transfer("x.bin", 4_000_000)])
    with display.hidden():
        terminal.write("a line\n")
    before, after = terminal.getvalue().split("a line\n")
    assert before.endswith("\r")
    assert "x.bin" in after
    display.close()


def test_a_size_may_be_unknown() -> None:
    terminal = Terminal()
    display = Bars(terminal)
    display.show([transfer("x.bin", None)])
    assert "x.bin" in terminal.getvalue()
    display.close()


def test_nothing_to_transfer_shows_nothing() -> None:
    terminal = Terminal()
    display = Bars(terminal)
    display.show([TransferProgress("x.bin", 10)])
    display.close()
    assert terminal.getvalue() == ""


def test_a_file_sees_nothing() -> None:
    stream = io.StringIO()
    display = display_on(stream)
    assert isinstance(display, NoDisplay)
    with display.hidden():
        display.show([transfer("x.bin", 4)])
    display.close()
    assert stream.getvalue() == ""
