"""A progress bar of a file that is being written, such as the .bin of an IR.

A separate process draws it, `python -m omz_model_tools.convert.write_progress FILE SIZE`: openvino.save_model holds
the global interpreter lock until it returns, so a thread could not draw. The process ends when its stdin is closed.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

Watch = Callable[[Path, int], AbstractContextManager[None]]  # (file, size)

WORTH_A_BAR = 64 << 20  # bytes; less is written in an instant
EVERY = 0.2  # seconds


@contextmanager
def unwatched(file: Path, size: int) -> Iterator[None]:
    """No bar, for a log file: the headings already name the file."""
    yield


def watch_on(stream: TextIO) -> Watch:
    return bar_on(stream) if stream.isatty() else unwatched


def bar_on(stream: TextIO) -> Watch:
    """Return a watch that draws a bar on `stream`, and erases it when the file is written."""

    @contextmanager
    def bar(file: Path, size: int) -> Iterator[None]:
        if size < WORTH_A_BAR:
            yield
            return
        command = [sys.executable, "-m", "omz_model_tools.convert.write_progress", str(file), str(size)]
        # In a session of its own: Ctrl-C is for the converter, which then closes stdin.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=stream, start_new_session=True)
        try:
            yield
        finally:
            process.communicate()

    return bar


def follow(file: Path, size: int, stream: TextIO, ended: threading.Event) -> None:
    """Draw the bar until `ended`."""
    from tqdm import tqdm  # noqa: PLC0415

    with tqdm(total=size, desc=file.name, file=stream, leave=False, unit="B", unit_scale=True) as line:
        while not ended.wait(EVERY):
            line.update(min(size, _size(file)) - line.n)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # not there yet
        return 0


def _main(file: str, size: str) -> None:
    ended = threading.Event()
    drawing = threading.Thread(target=follow, args=(Path(file), int(size), sys.stderr, ended))
    drawing.start()
    sys.stdin.buffer.read()  # until it is closed
    ended.set()
    drawing.join()


if __name__ == "__main__":
    _main(*sys.argv[1:])
