"""log.jsonl, a line for each step and evaluation, and the loss line of gpt-2-simple."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omz_model_tools.common import disk_problems, publishing

LOG = "log.jsonl"
FORGETS = 0.99
"""The average loss of gpt-2-simple: of all steps, each before counting this much less."""


class Log:
    """The log of a run, as far as the step it goes on from."""

    def __init__(self, path: Path, step: int = 0) -> None:
        """Cut the log back to the lines up to this step."""
        self._path = path
        self._weighted, self._weight = 0.0, 0.0
        kept = [entry for entry in read_log(path) if entry["step"] <= step] if step else []
        for entry in kept:
            self._average(entry)
        with publishing(path) as out:
            out.writelines(f"{json.dumps(entry)}\n".encode() for entry in kept)
        self._file = path.open("a", encoding="utf-8")

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append a line."""
        self._average(entry)
        with disk_problems(self._path):
            self._file.write(f"{json.dumps(entry)}\n")
            self._file.flush()

    @property
    def average(self) -> float:
        """The average loss of the steps so far."""
        return self._weighted / self._weight if self._weight else 0.0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _average(self, entry: Mapping[str, Any]) -> None:
        if "loss" in entry:
            self._weighted = self._weighted * FORGETS + entry["loss"]
            self._weight = self._weight * FORGETS + 1


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a log; a line that was cut off while it was written is left out."""
    entries = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            try:
                entries.append(dict(json.loads(line)))
            except ValueError:
                break
    return entries


def loss_line(step: int, seconds: float, loss: float, average: float) -> str:
    """Return the line that gpt-2-simple prints."""
    return f"[{step} | {seconds:.2f}] loss={loss:.2f} avg={average:.2f}"
