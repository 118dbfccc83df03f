"""Runs commands of ours: in the test's own process, or as processes where that is what a test is about.

Here, a command has its own three streams (down to the file descriptors), folder, environment and warnings, and the
test gets them back; what only a process has (signals, a terminal, pipes that close, how Python starts) it has not.
"""

import functools
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO
from unittest import mock

from support import HANGS_AFTER

COMMANDS = Path(sysconfig.get_path("scripts"))
ENVIRONMENT = {"COLUMNS": "80", "PYTHONWARNINGS": "error"}

Completed = subprocess.CompletedProcess[bytes]


def run_process(
    name: str, *arguments: object, stdin: bytes = b"", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Completed:
    """Run an installed command to its end."""
    command = [str(COMMANDS / name), *map(str, arguments)]
    environment = {**os.environ, **ENVIRONMENT, **(env or {})}
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=HANGS_AFTER, env=environment, cwd=cwd, check=False
    )


def run_here(
    name: str, *arguments: object, stdin: bytes = b"", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Completed:
    """Run what an installed command runs, in this process."""
    argv = [str(COMMANDS / name), *map(str, arguments)]
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {**ENVIRONMENT, **(env or {})}))
        stack.enter_context(mock.patch.object(sys, "argv", argv))
        stack.enter_context(_folder(cwd))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin)
        files[0].seek(0)
        with _streams(files), _interrupt_handler():
            code = _exit_code(_entry_point(name))
        out, err = (_content(file) for file in files[1:])
    return subprocess.CompletedProcess(argv, code, out, err)


@functools.cache
def _entry_point(name: str) -> Callable[[], int]:
    (found,) = entry_points(group="console_scripts", name=name)
    return found.load()


def _exit_code(command: Callable[[], object]) -> int:
    """Do what sys.exit(command()) does at the end of a process."""
    try:
        code = command()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        return 1
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


@contextmanager
def _folder(cwd: Path | None) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(cwd or before)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _interrupt_handler() -> Iterator[None]:
    """The demo sets one and leaves it, as its process ends with it."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _streams(files: list[IO[bytes]]) -> Iterator[None]:
    """Put files into the places of stdin, stdout and stderr, for libraries and child processes too."""
    names = ("stdin", "stdout", "stderr")
    before = [getattr(sys, name) for name in names]
    descriptors = [os.dup(number) for number in range(3)]
    try:
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        with (
            open(0, closefd=False) as sys.stdin,
            open(1, "w", closefd=False) as sys.stdout,
            open(2, "w", closefd=False, buffering=1, errors="backslashreplace") as sys.stderr,
        ):
            yield
    finally:
        for name, stream in zip(names, before, strict=True):
            setattr(sys, name, stream)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
