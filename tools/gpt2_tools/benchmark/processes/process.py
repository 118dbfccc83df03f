"""A whole process: the time and the peak memory it takes; and the memory of a process that runs."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt2_tools.common.problem import Problem


@dataclass(frozen=True)
class ProcessRun:
    """What one whole process took; peak_mb is None where the system does not tell (Windows)."""

    seconds: float
    peak_mb: float | None


def run_process(command: Sequence[str]) -> ProcessRun:
    """Run a command to its end, its output thrown away.

    Raises Problem, with the last line it said, when it fails.
    """
    launcher = [sys.executable, "-S", str(Path(__file__).with_name("launcher.py")), *command]
    done = subprocess.run(launcher, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
    if done.returncode:
        raise Problem(f"{command[0]}: cannot be run: {said[-1]}")
    seconds, code, peak = json.loads(done.stdout)
    if code:
        raise Problem(f"{' '.join(command)}: exit code {code}: {said[-1]}")
    return ProcessRun(seconds, None if peak is None else peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def own_memory() -> dict[str, float]:
    """Return the megabytes that this process holds, resident and private; empty where the system does not tell."""
    return memory_of("self")


def memory_of(process: int | str) -> dict[str, float]:
    """Return the megabytes that a process holds; empty where the system does not tell.

    resident: all, weights that are mapped from their file among them. private: what belongs to no file and to no
    other process, so that the system cannot take it back.
    """
    rollup = Path(f"/proc/{process}/smaps_rollup")
    if not rollup.exists():
        return {}
    kilobytes = dict(line.split()[:2] for line in rollup.read_text().splitlines()[1:])
    return {"resident": int(kilobytes["Rss:"]) / 1024, "private": int(kilobytes["Private_Dirty:"]) / 1024}


def own_peak_memory() -> dict[str, float]:
    """Return the most megabytes that this process has ever held; empty where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    told = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return {"peak": int(told["VmHWM"].split()[0]) / 1024}
