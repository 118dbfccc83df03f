"""Output of the tools in Open Model Zoo's formats: text, JSON events, or failures only.

Headings and events go to stdout, errors and warnings to stderr.
"""

import json
from dataclasses import dataclass
from typing import TextIO

from omz_model_tools.common.guard import OutputLost, say
from omz_model_tools.common.problem import printable


@dataclass(frozen=True)
class Report:
    """Output as text."""

    out: TextIO
    err: TextIO

    def line(self, text: str = "") -> None:
        self._print(text)

    def group(self, text: str) -> None:
        self.line(f"{'#' * 16}|| {text} ||{'#' * 16}")
        self.line()

    def section(self, text: str) -> None:
        self.line(f"{'=' * 10} {text}")

    def event(self, kind: str, **facts: str | int | bool | None) -> None:
        """Report an event to a program that reads the output; only the JSON format has events."""

    def warning(self, text: str) -> None:
        self._say(f"{'#' * 10} Warning: {text}")

    def error(self, text: str, *details: str) -> None:
        lines = [f"{'#' * 10} Error: {text}", *(f"{'#' * 10}      {detail}" for detail in details)]
        self._say("\n".join(lines))

    def failed(self, names: list[str]) -> None:
        """Print the list of failures that ends a run."""
        for text in ["FAILED:", *names]:
            self._print(text)

    def _say(self, text: str) -> None:
        say(text, self.err)

    def _print(self, text: str) -> None:
        try:
            print(printable(text), file=self.out, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputLost(f"stdout: cannot be written: {error.strerror}") from None


class Quiet(Report):
    """Output of failures only."""

    def line(self, text: str = "") -> None:
        pass


class Events(Report):
    """Output as JSON, one object per line, for a program."""

    def line(self, text: str = "") -> None:
        pass

    def event(self, kind: str, **facts: str | int | bool | None) -> None:
        self._print(json.dumps({"$type": kind, **facts}))

    def failed(self, names: list[str]) -> None:
        """Print nothing: model_download_end and model_postprocessing_end have said it of each model."""
