"""A progress bar on a terminal while openvino.save_model holds the interpreter lock; nothing in a log file."""

import io
import os
import sys
import time
from pathlib import Path

import pytest

from omz_model_tools.convert.write_progress import WORTH_A_BAR, bar_on, unwatched, watch_on
from support import HANGS_AFTER

pty = pytest.importorskip("pty")


def grow(file: Path, size: int) -> None:
    """A sparse file."""
    with file.open("ab") as stream:
        stream.truncate(size)


def read_until(descriptor: int, wanted: str) -> str:
    """What a terminal shows, up to what is waited for."""
    shown, end = "", time.monotonic() + HANGS_AFTER
    while wanted not in shown:
        assert time.monotonic() < end, shown
        shown += os.read(descriptor, 4096).decode(errors="replace")
    return shown


def test_no_terminal_no_bar() -> None:
    assert watch_on(io.StringIO()) is unwatched


def test_a_bar_follows_the_file_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415
    import struct  # noqa: PLC0415
    import termios  # noqa: PLC0415

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    file, size = tmp_path / "toy.bin", 2 * WORTH_A_BAR
    with os.fdopen(slave, "w") as terminal:
        assert watch_on(terminal) is not unwatched
        with bar_on(terminal)(file, size):
            read_until(master, "toy.bin:   0%")
            grow(file, size // 2)
            read_until(master, "toy.bin:  50%")
            grow(file, size)
            read_until(master, "toy.bin: 100%")
        print("next", file=terminal, flush=True)
        rest = read_until(master, "next")
    os.close(master)
    assert rest.endswith(" \rnext\r\n")


def test_what_is_written_in_an_instant_has_none(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal, bar_on(terminal)(tmp_path / "toy.bin", WORTH_A_BAR - 1):
        pass
    os.set_blocking(master, False)
    with pytest.raises(OSError):  # noqa: PT011 (nothing to read: EIO or EAGAIN)
        os.read(master, 1)
    os.close(master)
