"""What every command does around its work: streams, exit codes, one line for what the user can mend."""

import io
import os
import sys
from collections.abc import Callable

from omz_model_tools.common.interrupt import INTERRUPTED
from omz_model_tools.common.problem import Problem, one_line

PIPE_CLOSED = 141  # 128 + SIGPIPE


class OutputLost(Exception):
    """stdout takes no more; told apart from the files that a command writes."""


def guarded(command: Callable[[], int], problems: tuple[type[Exception], ...] = (Problem,)) -> int:
    """Run a command and return its exit code; what is not among `problems` is a bug, with its traceback."""
    _set_up_streams()
    try:
        return command()
    except problems as problem:
        print(one_line(problem), file=sys.stderr)
        return 1
    except OutputLost as problem:
        _let_go_of_stdout()
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _let_go_of_stdout()
        return PIPE_CLOSED


def _set_up_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):  # a path may hold bytes that are no text
            stream.reconfigure(errors="backslashreplace")


def _let_go_of_stdout() -> None:
    """Python flushes stdout once more at exit; let that go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
