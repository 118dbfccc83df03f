"""Runs the command of its arguments; prints, as JSON, [seconds, exit code, peak resident memory, CPU seconds].

The last two are null where the system does not report them.

A small process in between, since the peak of a forked child starts with the memory of its parent.
"""

import json
import os
import subprocess
import sys
import time


def main(command: list[str]) -> None:
    """Run a command with its output thrown away; its stderr stays ours."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        peak = cpu = None
        if sys.platform == "win32":
            process.wait()
        else:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak, cpu = usage.ru_maxrss, usage.ru_utime + usage.ru_stime
    print(json.dumps([time.perf_counter() - start, process.returncode, peak, cpu]))


if __name__ == "__main__":
    main(sys.argv[1:])
