"""Another program, run to its end or ours; what it says, on either stream, is handed on line by line."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from omz_model_tools.convert.onnx import supervisor as leash


def run(command: Sequence[str], say: Callable[[str], None], environment: Mapping[str, str] | None = None) -> int:
    """The exit code, 128 + N where signal N ended it.

    Whatever ends this process, kill -9 too, ends the program; and so does an exception here, such as Ctrl-C. It is
    interrupted first, and given a few seconds to tidy up; what it says then is not heard.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, *command],
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
            process.wait()  # Popen itself does not wait where it is Ctrl-C that ends this


class LastLineHeld:
    """Hands lines on but for the last, which a program that fails ends with, to say why."""

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
