"""What is said when no source has a file: of each source why, and how the file can be had by hand."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.descriptor.model import HttpSource, Source


@dataclass(frozen=True)
class Defeat:
    source: Source
    reason: str
    tries: int  # 0: it was not asked


def defeated(destination: Path, cache_entry: Path | None, defeats: Iterable[Defeat], kept: str | None) -> list[str]:
    """The error and its details; `kept` says what is there of the file."""
    defeats = list(defeats)
    lines = [f"{destination}: could not be downloaded"]
    if cache_entry is not None:
        lines.append(f"{cache_entry}: not in the cache")
    lines += [f"{defeat.source}: {defeat.reason}{_tries(defeat.tries)}" for defeat in defeats]
    if kept:
        lines.append(kept)
    urls = [str(defeat.source) for defeat in defeats if isinstance(defeat.source, HttpSource)]
    if urls:
        curl = ["curl", "--location", "--create-dirs", "--output", str(destination), urls[0]]
        lines.append(f"by hand: {shlex.join(curl)}")
    return lines


def _tries(count: int) -> str:
    return f" ({count} {'try' if count == 1 else 'tries'})" if count else ""
