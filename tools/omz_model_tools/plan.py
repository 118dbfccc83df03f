"""What a download would do: which files, how large, from where; it writes nothing and asks nobody."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools import verify
from omz_model_tools.cache import Cache
from omz_model_tools.descriptor import Downloadable, HttpSource, ModelFile, Source
from omz_model_tools.mirror import mirrored
from omz_model_tools.partial import Place
from omz_model_tools.postprocess import is_done
from omz_model_tools.problem import Problem, disk_problems
from omz_model_tools.report import Report


@dataclass(frozen=True)
class Plan:
    output_dir: Path
    report: Report
    mirror: str | None = None
    cache: Cache | None = None
    offline: bool = False

    def tell(self, models: Iterable[Downloadable]) -> list[str]:
        """Say what would be done; the names of the models whose download would fail from the start."""
        failed, total = [], 0
        for model in models:
            self.report.group(f"(DRY RUN) Downloading {model.name}")
            try:
                needed = sum(self._tell_file(model, file) for file in self._missing(model))
            except Problem as problem:
                self.report.error(str(problem), *problem.details)
                failed.append(model.name)
            else:
                self.report.line(f"{model.name}: {needed} bytes to fetch")
                total += needed
            self.report.line()
        self.report.line(f"In sum: {total} bytes to fetch")
        return failed

    def _missing(self, model: Downloadable) -> list[ModelFile]:
        """The files to fetch; of the others it is said that they are there."""
        folder = self.output_dir / model.subdirectory
        done = is_done(model, folder)
        missing = []
        for file in model.files:
            path = folder / file.name
            with disk_problems(path):
                if done or verify.is_true(path, file):
                    why = "postprocessed" if done else "checksum matches"
                    self.report.section(f"Retained {path} (already there, {why})")
                    self.report.line()
                else:
                    missing.append(file)
        return missing

    def _tell_file(self, model: Downloadable, file: ModelFile) -> int:
        """The bytes to fetch, 0 if that is not known."""
        path = self.output_dir / model.subdirectory / file.name
        with disk_problems(path):
            there = Place.of(path, file).size()
        self.report.section(f"(DRY RUN) Downloading {path}")
        size = "of unknown size" if file.size is None else f"{file.size} bytes"
        self.report.line(f"{size}, {there} of them already there" if there else size)
        for word, place in zip(["from", *["or"] * len(file.sources) * 2], self._places(file), strict=False):
            self.report.line(f"{word} {place}")
        self.report.line()
        return max((file.size or 0) - there, 0)

    def _places(self, file: ModelFile) -> list[str]:
        entry = None if self.cache is None else self.cache.entry(file.checksum)
        cached = [str(entry)] if entry is not None and entry.is_file() else []
        return [*cached, *(self._shown(source) for source in mirrored(file.sources, self.mirror))]

    def _shown(self, source: Source) -> str:
        barred = self.offline and isinstance(source, HttpSource)
        return f"{source} (not asked: --offline)" if barred else str(source)
