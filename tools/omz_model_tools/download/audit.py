"""--verify: check the downloaded files against their descriptors, without changing anything."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.problem import Problem, disk_problems
from omz_model_tools.common.report import Report
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.model import Downloadable
from omz_model_tools.download.postprocess import check_done


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
            matches = [self._report(path, error) for path, error in self._errors(model, folder)]
            return all(matches)
        except Problem as problem:
            self.report.error(str(problem), *problem.details)
            return False

    def _errors(self, model: Downloadable, folder: Path) -> Iterator[tuple[Path, verify.VerificationError | None]]:
        recorded = list(check_done(model, folder))
        if recorded:
            yield from recorded
            return
        for file in model.files:
            path = folder / file.name
            with disk_problems(path):
                yield path, verify.find_error(path, file)
        if model.postprocessing:
            raise Problem(
                f'{folder}: expected the results of the descriptor\'s "postprocessing", got no record of them'
            )

    def _report(self, path: Path, error: verify.VerificationError | None) -> bool:
        if error is None:
            self.report.line(f"OK {path}")
        else:
            self.report.error(*error.lines(path))
        return error is None
