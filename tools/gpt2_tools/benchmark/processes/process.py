"""Time and peak memory of a whole process, and the memory of a running one."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt2_tools.common.problem import Problem


@dataclass(frozen=True)
class ProcessRun:
    """Time and peak memory of a process; the last two are None if the system does not report them (Windows).

    cpu_seconds: of all its threads.
    """

    seconds: float
    peak_mb: float | None
    cpu_seconds: float | None = None


def run_process(command: Sequence[str]) -> ProcessRun:
    """Run a command to its end and discard its output. Raises Problem, with its last line on stderr, if it fails."""
    launcher = [sys.executable, "-S", str(Path(__file__).with_name("launcher.py")), *command]
    done = subprocess.run(launcher, capture_output=True, check=False)
    lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    if done.returncode:
        raise Problem(f"{command[0]}: cannot be run: {lines[-1]}")
    seconds, code, peak, cpu = json.loads(done.stdout)
    if code:
        raise Problem(f"{' '.join(command)}: exit code {code}: {lines[-1]}")
    peak_mb = None if peak is None else peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return ProcessRun(seconds, peak_mb, cpu)


def own_memory() -> dict[str, float]:
    """Return the memory of this process, see memory_of."""
    return memory_of("self")


def memory_of(process: int | str) -> dict[str, float]:
    """Return a process's memory in MB, empty if the system does not report it.

    resident: with the resident pages of mapped files, such as weights. private: dirty pages of this process alone,
    which the system cannot reclaim.
    """
    rollup = Path(f"/proc/{process}/smaps_rollup")
    if not rollup.exists():
        return {}
    kilobytes = dict(line.split()[:2] for line in rollup.read_text().splitlines()[1:])
    return {"resident": int(kilobytes["Rss:"]) / 1024, "private": int(kilobytes["Private_Dirty:"]) / 1024}


def own_peak_memory() -> dict[str, float]:
    """Return the peak resident memory of this process in MB, empty if the system does not report it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    values = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return {"peak": int(values["VmHWM"].split()[0]) / 1024}
