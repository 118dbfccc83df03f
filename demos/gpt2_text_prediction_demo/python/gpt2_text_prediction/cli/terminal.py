"""What the demo reads and writes: the log on stderr, text on stdout, lines typed at a terminal."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from gpt2_text_prediction.cli.interrupt import INTERRUPTED, ends_at_once
from gpt2_text_prediction.cli.prompts import RawPrompt, joined
from gpt2_text_prediction.problem import Problem, printable

PIPE_CLOSED = 141  # 128 + SIGPIPE
ASK = "Type input prompt (empty string to exit):"


def guarded(run: Callable[[], int]) -> int:
    """Run a command; return its exit code, 1 for a problem, 130 for Ctrl-C, 141 where the reader of stdout has gone."""
    if sys.stderr is None:  # closed: print would write to stdout instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        with ends_at_once():
            return run()
    except Problem as problem:
        say("ERROR", str(problem))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our text has seen enough
        silence_stdout()
        return PIPE_CLOSED


def say(level: str, line: str) -> None:
    """Write a line to the log on stderr, in the format of Open Model Zoo's demos; a log that is full costs no text."""
    with suppress(OSError):
        print(f"[ {level} ]", printable(line), file=sys.stderr, flush=True)


_HIDDEN: set[str] = set()


def hide(*levels: str) -> None:
    """Leave these levels out of what log writes from now on, and no others."""
    _HIDDEN.clear()
    _HIDDEN.update(levels)


def log(level: str, line: str) -> None:
    """Write a line that nobody has asked for to the log on stderr, unless its level is hidden."""
    if level not in _HIDDEN:
        say(level, line)


def draw(text: str) -> None:
    """Write to stderr if it is a terminal."""
    if sys.stderr.isatty():
        with suppress(OSError):
            print(text, end="", file=sys.stderr, flush=True)


def set_up_stdout() -> None:
    """Write UTF-8 into a file or a pipe whatever the locale; on a terminal, what it cannot show becomes '?'.

    Raises Problem where stdout is closed.
    """
    if sys.stdout is None:
        raise Problem("stdout is closed: there is nowhere to write the text")
    if sys.stdout.isatty():
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    else:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]


def write(text: str) -> None:
    """Write text to stdout at once. Raises Problem where it cannot, and BrokenPipeError where the reader has gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        silence_stdout()
        raise Problem(f"stdout: cannot be written: {problem.strerror}") from None


def silence_stdout() -> None:
    """Discard what is still buffered: Python would fail to flush it at exit, and say so."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def typed_prompts(complete: Callable[[str], list[str]]) -> Iterator[RawPrompt]:
    """Ask for prompts until an empty line or the end of the input. complete: what a line may become by Tab."""
    ask = _line_editor(complete) or _plain_line
    for number in itertools.count(1):
        line = _line(ask)
        if not line.strip():
            if not line:  # end of input leaves the cursor after the question
                print(file=sys.stderr)
            return
        yield RawPrompt(number, "the prompt", line.rstrip(b"\r\n"))


def _line(ask: Callable[[], bytes]) -> bytes:
    """Ask for a line. The first Ctrl-C drops it, as it may have been meant for the text that just ended."""
    try:
        return _whole(ask)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        say("INFO", "Ctrl-C again, an empty line or /quit ends the program")
        return _whole(ask)


def _whole(ask: Callable[[], bytes]) -> bytes:
    """Ask for a line, and for the next while it ends with a backslash."""
    return next(joined(iter(ask, b"")), b"")


def drop_typed_ahead() -> None:
    """Drop what was typed or pasted and not read: the shell would run it."""
    with suppress(ImportError, OSError, ValueError):  # Windows has no termios, whose error is an OSError
        import termios  # noqa: PLC0415

        with suppress(termios.error):
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _line_editor(complete: Callable[[str], list[str]]) -> Callable[[], bytes] | None:
    """Return a function that asks for a line with editing, history and Tab; None where stdout is no terminal.

    What is pasted comes as one line, with the line breaks that are in it.
    """
    if not sys.stdout.isatty():
        return None
    try:
        import readline  # noqa: PLC0415  # input() uses it
    except ImportError:  # on Windows, whose console edits lines itself
        return None
    found: list[str] = []

    def nth(begun: str, n: int) -> str | None:
        if n == 0:
            found[:] = complete(begun)
        return found[n] if n < len(found) else None

    readline.set_completer_delims("")
    readline.set_completer(nth)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    if os.environ.get("TERM", "dumb") != "dumb":  # older versions of readline do it only where they are told to
        readline.parse_and_bind("set enable-bracketed-paste on")

    def edited_line() -> bytes:
        try:
            return input(ASK + " ").encode(errors="surrogateescape") + b"\n"
        except EOFError:
            return b""

    return edited_line


def _plain_line() -> bytes:
    print(ASK, end="", file=sys.stderr, flush=True)
    return sys.stdin.buffer.readline()
