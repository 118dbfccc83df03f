"""Figures: a measured quantity with all its values, their median and spread; and how often something is repeated."""

import hashlib
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

CHECKSUM = "tokens_sha256"
T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One measured quantity: its unit and every value it had."""

    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value that tables quote."""
        return statistics.median(self.values)

    @property
    def mean(self) -> float:
        """The mean, which other benchmarks quote."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """The sample standard deviation; 0 of a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def text(self) -> str:
        """Return it for a table: the median, with minimum and maximum of several values."""
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
    """The number of warm-up runs and of measured runs."""

    warmup: int
    runs: int

    def of(self, once: Callable[[], T]) -> list[T]:
        """Return the results of the measured runs."""
        return [once() for _ in range(self.warmup + self.runs)][self.warmup :]


def checksum(tokens: Iterable[int]) -> str:
    """Return the SHA-256 of token ids, joined by spaces."""
    return hashlib.sha256(" ".join(map(str, tokens)).encode()).hexdigest()
