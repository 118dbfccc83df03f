"""Open Model Zoo's text form of what a tool does: headings on stdout, errors on stderr; it knows no tool."""

from dataclasses import dataclass
from typing import TextIO

from omz_model_tools.guard import OutputLost


@dataclass(frozen=True)
class Report:
    out: TextIO
    err: TextIO

    def line(self, text: str = "") -> None:
        try:
            print(text, file=self.out, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputLost(f"stdout: cannot be written: {error.strerror}") from None

    def group(self, text: str) -> None:
        self.line(f"{'#' * 16}|| {text} ||{'#' * 16}")
        self.line()

    def section(self, text: str) -> None:
        self.line(f"{'=' * 10} {text}")

    def error(self, text: str, *details: str) -> None:
        lines = [f"{'#' * 10} Error: {text}", *(f"{'#' * 10}      {detail}" for detail in details)]
        print(*lines, sep="\n", file=self.err, flush=True)

    def failed(self, names: list[str]) -> None:
        """The list that ends a run in which not everything went well."""
        self.line("FAILED:")
        for name in names:
            self.line(name)
