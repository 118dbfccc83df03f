"""A script: runs a command that ends when whoever started this script dies, or lets go of its stdin.

It is interrupted first, as by Ctrl-C, so that it can tidy up, and soon killed. The script imports nothing of ours, so
that any Python can run it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

CANNOT_RUN = 127
STDIN = 0
GRACE = 3.0
"""Seconds between the two."""


def main(command: list[str]) -> int:
    """Run the command in a process group of its own; its exit code, 128 + N where signal N ended it."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=os.name != "nt")
    except OSError as error:
        print(f"{command[0]}: cannot be run: {error.strerror}", flush=True)
        return CANNOT_RUN
    threading.Thread(target=_watch, args=(child,), daemon=True).start()
    code = child.wait()
    _end(child)  # what it may have left behind
    return code if code >= 0 else 128 - code


def _watch(child: "subprocess.Popen[bytes]") -> None:
    while os.read(STDIN, 1):  # sys.stdin has a lock, which a daemon must not hold at the end
        pass
    _signal(child, signal.SIGINT)  # the other end of the pipe was closed, by whatever
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    if os.name == "nt":
        child.kill()
    else:
        _signal(child, signal.SIGKILL)


def _signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    """To it and to what it has started."""
    if os.name != "nt":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
