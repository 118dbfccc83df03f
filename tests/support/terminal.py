"""A command on a pseudo-terminal, and the screen that a person sees when it has ended."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pyte

from support.command import COMMANDS, ENVIRONMENT

COLUMNS, ROWS = 100, 40


def screen_of(name: str, *arguments: object, cwd: Path | None = None) -> tuple[int, list[str]]:
    """Run an installed command with all three streams on a terminal; return its exit code and the lines on it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = [str(COMMANDS / name), *map(str, arguments)]
    environment = {**os.environ, **ENVIRONMENT, "TERM": "xterm"}
    del environment["COLUMNS"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment) as process:
        os.close(slave)
        screen = pyte.Screen(COLUMNS, ROWS)
        stream = pyte.ByteStream(screen)
        while written := _read(master):
            stream.feed(written)
    os.close(master)
    return process.returncode, lines_of(screen)


def lines_of(screen: pyte.Screen) -> list[str]:
    """Return the lines of a screen, but for those that are blank."""
    return [line.rstrip() for line in screen.display if line.strip()]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # on Linux, when the last who had it open has closed it
        return b""
