"""Figures: repeated values with their median and spread, whole processes, this process's memory. It knows no model."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt2_tools.problem import Problem


@dataclass(frozen=True)
class Figure:
    """One measured quantity: its unit and every value it had."""

    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value to quote."""
        return statistics.median(self.values)

    def text(self) -> str:
        """Return it for a table: the median, with the least and the most where there is a spread."""
        if len(self.values) == 1:
            return f"{self.median:.4g} {self.unit}"
        return f"{self.median:.4g} {self.unit} ({min(self.values):.4g} .. {max(self.values):.4g})"

    def as_json(self) -> dict[str, object]:
        """Return it for the JSON line."""
        return {
            "median": round(self.median, 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "runs": len(self.values),
            "unit": self.unit,
        }


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
    done = subprocess.run(launcher, capture_output=True, check=True)
    seconds, code, peak = json.loads(done.stdout)
    if code:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Problem(f"{' '.join(command)}: exit code {code}: {said[-1] if said else 'no word'}")
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
