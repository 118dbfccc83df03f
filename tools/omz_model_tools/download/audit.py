"""Whether what was downloaded is there and true; it fetches and changes nothing."""

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
        """Read every file; the names of the models that are not wholly there."""
        return [model.name for model in models if not self._check_model(model)]

    def _check_model(self, model: Downloadable) -> bool:
        folder = self.output_dir / model.subdirectory
        try:
            told = [self._tell(path, fault) for path, fault in self._faults(model, folder)]
            return all(told)
        except Problem as problem:
            self.report.error(str(problem), *problem.details)
            return False

    def _faults(self, model: Downloadable, folder: Path) -> Iterator[tuple[Path, verify.Untrue | None]]:
        recorded = list(check_done(model, folder))
        if recorded:
            yield from recorded
            return
        for file in model.files:
            path = folder / file.name
            with disk_problems(path):
                yield path, verify.fault(path, file)
        if model.postprocessing:
            raise Problem(
                f'{folder}: expected the results of the descriptor\'s "postprocessing", got no record of them'
            )

    def _tell(self, path: Path, fault: verify.Untrue | None) -> bool:
        if fault is None:
            self.report.line(f"OK {path}")
        else:
            self.report.error(*fault.lines(path))
        return fault is None
