"""Run another program, passing its output on line by line; it ends when this process does."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from omz_model_tools.convert.onnx import supervisor


def run(command: Sequence[str], say: Callable[[str], None], environment: Mapping[str, str] | None = None) -> int:
    """Run the program and return its exit code, 128 + N if signal N ended it; `say` gets its stdout and stderr.

    If this process ends in any way, kill -9 included, or an exception such as Ctrl-C is raised here, the program is
    interrupted, and killed some seconds later. What it prints after that is dropped.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", supervisor.__file__, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        start_new_session=os.name != "nt",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for line in process.stdout:
                say(line.rstrip("\n"))
            return process.wait()
        finally:
            process.stdin.close()
            process.wait()  # after Ctrl-C, Popen itself would not wait


class LastLineHeld:
    """Passes lines on, one behind: the last line of a program that fails says why, and is reported otherwise."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.last: str | None = None

    def __call__(self, line: str) -> None:
        self.release()
        self.last = line

    def release(self) -> None:
        if self.last is not None:
            self._say(self.last)
        self.last = None
