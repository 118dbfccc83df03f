"""--verify: check the downloaded files against their descriptors, without changing anything."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.problem import Problem
from omz_model_tools.common.report import Report
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.finished import check_finished
from omz_model_tools.descriptor.model import Downloadable


@dataclass(frozen=True)
class Audit:
    output_dir: Path
    report: Report

    def check(self, models: Iterable[Downloadable]) -> list[str]:
        """Read and report every file; return the names of the models with a missing or wrong file."""
        return [model.name for model in models if not self._check_model(model)]

    def _check_model(self, model: Downloadable) -> bool:
        folder = self.output_dir / model.subdirectory
        try:
            matches = [self._report(path, error) for path, error in check_finished(model, folder)]
            return all(matches)
        except Problem as problem:
            self.report.error(str(problem), *problem.details)
            return False

    def _report(self, path: Path, error: verify.VerificationError | None) -> bool:
        if error is None:
            self.report.line(f"OK {path}")
        else:
            self.report.error(*error.lines(path))
        return error is None
