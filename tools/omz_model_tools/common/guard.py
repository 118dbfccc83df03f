"""What every command does around its work: set up the streams, turn exceptions into one line and an exit code; say."""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from omz_model_tools.common.interrupt import INTERRUPTED
from omz_model_tools.common.problem import Problem, one_line, printable

PIPE_CLOSED = 141  # 128 + SIGPIPE


class OutputLost(Exception):
    """stdout cannot be written; a class of its own, since other OSErrors are about the files of a command."""


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line on stderr, or a stream in its place; one that is full or closed costs no work."""
    with suppress(OSError, ValueError):
        print(printable(line), file=sys.stderr if stream is None else stream, flush=True)


def guarded(command: Callable[[], int], problems: tuple[type[Exception], ...] = (Problem,)) -> int:
    """Run a command and return its exit code; an exception that is not among `problems` is a bug: a traceback."""
    _set_up_streams()
    try:
        return command()
    except problems as problem:
        say(one_line(problem))
        return 1
    except OutputLost as problem:
        _discard_stdout()
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        say("Interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return PIPE_CLOSED


def _set_up_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the stream was closed by the caller: discard the output
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):  # a printed path may have bytes that are not UTF-8
            stream.reconfigure(errors="backslashreplace")


def _discard_stdout() -> None:
    """Send stdout to the null device: Python flushes it once more at exit, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
