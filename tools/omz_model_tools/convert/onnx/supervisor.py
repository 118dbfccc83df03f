"""A script that runs a command, and ends it when the script's parent dies or closes the script's stdin.

The command is interrupted first, as by Ctrl-C, so that it can clean up, and killed some seconds later. The script
imports only the standard library, so that any Python can run it.
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
"""Seconds between the interrupt and the kill."""


def main(command: list[str]) -> int:
    """Run the command in a process group of its own; return its exit code, 128 + N if signal N ended it."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=os.name != "nt")
    except OSError as error:
        print(f"{command[0]}: cannot be run: {error.strerror}", flush=True)
        return CANNOT_RUN
    threading.Thread(target=_watch, args=(child,), daemon=True).start()
    code = child.wait()
    _end(child)  # the processes that it may have left running
    return code if code >= 0 else 128 - code


def _watch(child: "subprocess.Popen[bytes]") -> None:
    while os.read(STDIN, 1):  # not sys.stdin: a daemon thread must not hold its lock at exit
        pass
    _signal(child, signal.SIGINT)  # the parent has closed the pipe, or died
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    if os.name == "nt":
        child.kill()
    else:
        _signal(child, signal.SIGKILL)


def _signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    """Send a signal to the command and to all processes of its group."""
    if os.name != "nt":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
