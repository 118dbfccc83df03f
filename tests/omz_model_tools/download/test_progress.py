"""Progress bars on a terminal, nothing in a file."""

import io

import pyte

from omz_model_tools.download.progress import Bars, NoDisplay, TransferProgress, display_on
from support.terminal import lines_of

COLUMNS, ROWS = 80, 24  # of a terminal that does not say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_screen(written: str) -> list[str]:
    """Return the lines that a person sees at the end, but for those that are blank."""
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.Stream(screen).feed(written.replace("\n", "\r\n"))
    return lines_of(screen)


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
    assert on_a_screen(terminal.getvalue()) == []


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
    assert on_a_screen(before) == []
    assert "x.bin" in after
    display.close()
    assert on_a_screen(terminal.getvalue()) == ["a line"]


def test_more_transfers_than_the_screen_has_rows() -> None:
    terminal = Terminal()
    display = Bars(terminal)
    display.show([transfer(f"{n}.bin", 4_000_000) for n in range(40)])
    assert len(on_a_screen(terminal.getvalue())) == ROWS - 1
    display.close()
    assert on_a_screen(terminal.getvalue()) == []


def test_a_line_for_each_running_transfer_below_the_total() -> None:
    """By hand: 2 of 4 MB in 2 seconds, 1 of 1 MB before, and 3 MB of a file whose size nobody knows."""
    terminal, now = Terminal(), [0.0]
    display = Bars(terminal, lambda: now[0])
    first, there, unknown = transfer("x", 4_000_000), transfer("y", 2_000_000, 1_000_000), transfer("z", None)
    display.show([first, there, unknown])
    now[0] = 2.0
    first.reach(2_000_000)
    unknown.reach(3_000_000)
    display.show([first, there, unknown])
    total, x, y, z = on_a_screen(terminal.getvalue())
    assert total.startswith("total:  40%|")
    assert total.endswith("| 2.00M/5.00M [00:02<00:03, 1.00MB/s]")
    assert x.endswith("| 2.00M/4.00M [00:02<00:02, 1.00MB/s]")
    assert y.endswith("| 1.00M/2.00M [00:02<?, ?B/s]")
    assert z == "z: 3.00MB [00:02, 1.50MB/s]"


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
