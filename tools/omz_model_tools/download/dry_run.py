"""--dry_run: report what a download would fetch, how much and from where, without network or writing."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.problem import Problem, disk_problems
from omz_model_tools.common.report import Report
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.finished import is_postprocessed
from omz_model_tools.descriptor.model import Downloadable, HttpSource, ModelFile, Source
from omz_model_tools.download.cache import Cache
from omz_model_tools.download.mirror import mirrored
from omz_model_tools.download.partial import PartPaths


@dataclass(frozen=True)
class _Amount:
    fetched: int = 0  # bytes
    unknown: int = 0  # files to fetch whose descriptor has no size
    cached: int = 0  # bytes that come from the cache

    def __add__(self, other: "_Amount") -> "_Amount":
        return _Amount(self.fetched + other.fetched, self.unknown + other.unknown, self.cached + other.cached)

    def __str__(self) -> str:
        files = "file" if self.unknown == 1 else "files"
        unknown = f" and {self.unknown} {files} of unknown size" if self.unknown else ""
        cached = f", {self.cached} bytes from the cache" if self.cached else ""
        return f"{self.fetched} bytes{unknown} to fetch{cached}"


@dataclass(frozen=True)
class DryRun:
    output_dir: Path
    report: Report
    mirror: str | None = None
    cache: Cache | None = None
    offline: bool = False

    def run(self, models: Iterable[Downloadable]) -> list[str]:
        """Report each model; return the names of those whose download would fail at once."""
        failed, total = [], _Amount()
        for model in models:
            self.report.group(f"(DRY RUN) Downloading {model.name}")
            try:
                needed = sum((self._report_file(model, file) for file in self._missing(model)), _Amount())
            except Problem as problem:
                self.report.error(str(problem), *problem.details)
                failed.append(model.name)
            else:
                self.report.line(f"{model.name}: {needed}")
                total += needed
            self.report.line()
        self.report.line(f"Total: {total}")
        return failed

    def _missing(self, model: Downloadable) -> list[ModelFile]:
        """Return the files to fetch, and report the others as retained."""
        folder = self.output_dir / model.subdirectory
        done = is_postprocessed(model, folder)
        missing = []
        for file in model.files:
            path = folder / file.name
            with disk_problems(path):
                if done or verify.matches(path, file):
                    why = "postprocessed" if done else "checksum matches"
                    self.report.section(f"Retained {path} (already there, {why})")
                    self.report.line()
                else:
                    missing.append(file)
        return missing

    def _report_file(self, model: Downloadable, file: ModelFile) -> _Amount:
        path = self.output_dir / model.subdirectory / file.name
        with disk_problems(path):
            there = PartPaths.of(path, file).size()
        self.report.section(f"(DRY RUN) Downloading {path}")
        size = "of unknown size" if file.size is None else f"{file.size} bytes"
        self.report.line(f"{size}, {there} of them already there" if there else size)
        entry = self.cache.find(file.checksum) if self.cache else None
        sources = [self._shown(source) for source in mirrored(file.sources, self.mirror)]
        for word, source in zip(
            ["from", *["or"] * len(sources)], [*([entry] if entry else []), *sources], strict=False
        ):
            self.report.line(f"{word} {source}")
        self.report.line()
        if entry:
            with disk_problems(entry):
                return _Amount(cached=entry.stat().st_size)
        return _Amount(unknown=1) if file.size is None else _Amount(max(file.size - there, 0))

    def _shown(self, source: Source) -> str:
        unused = self.offline and isinstance(source, HttpSource)
        return f"{source} (not used: --offline)" if unused else str(source)
