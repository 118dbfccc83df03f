"""Figures: repeated values with their median and spread, whole processes, this process's memory. It knows no model."""

import hashlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gpt2_tools.common.problem import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One measured quantity: its unit and every value it had."""

    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value to quote."""
        return statistics.median(self.values)

    @property
    def mean(self) -> float:
        """What other benchmarks quote."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """The standard deviation of a sample; 0 of a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

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
            "mean": round(self.mean, 4),
            "std": round(self.std, 4),
            "runs": len(self.values),
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Repeats:
    """How often something is done before it counts, and how often it counts."""

    warmup: int
    runs: int

    def of(self, once: Callable[[], T]) -> list[T]:
        """Return what comes of those that count."""
        return [once() for _ in range(self.warmup + self.runs)][self.warmup :]


@dataclass(frozen=True)
class ProcessRun:
    """What one whole process took; peak_mb is None where the system does not tell (Windows)."""

    seconds: float
    peak_mb: float | None


def run_process(command: Sequence[str]) -> ProcessRun:
    """Run a command to its end, its output thrown away.

    Raises Problem, with the last line it said, when it fails.
    """
    launcher = [sys.executable, "-S", str(Path(__file__).parent / "processes" / "launcher.py"), *command]
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


def own_peak_memory() -> dict[str, float]:
    """Return the most megabytes that this process has ever held; empty where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    told = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return {"peak": int(told["VmHWM"].split()[0]) / 1024}


def checksum(tokens: Iterable[int]) -> str:
    """Return the SHA-256 of token ids as they are written with a space between them."""
    return hashlib.sha256(" ".join(map(str, tokens)).encode()).hexdigest()
