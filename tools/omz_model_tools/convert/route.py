"""Conversion routes: the interface that the converter uses, the direct route by a recipe, and the job of a route."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from omz_model_tools.common.problem import Problem, disk_problems
from omz_model_tools.common.publish import PublishedFolder
from omz_model_tools.convert.ir import build
from omz_model_tools.convert.recipes import Companion, Conversion, Recipe
from omz_model_tools.descriptor.finished import finished_files
from omz_model_tools.descriptor.model import Model, ModelFile


@dataclass(frozen=True)
class Job:
    """One model to convert: its downloaded files, and the folders of its IRs."""

    model: Model
    download_dir: Path
    output_dir: Path

    @property
    def downloaded(self) -> Path:
        return self.download_dir / self.model.subdirectory

    @property
    def converted(self) -> Path:
        return self.output_dir / self.model.subdirectory

    @property
    def folder(self) -> Path:
        """The folder that a recipe is given: the deepest one that contains all files of the finished download."""
        files = self._finished() or self.model.files  # before the download, those of the descriptor
        return self.downloaded / os.path.commonpath([str(file.name.parent) for file in files])

    def published(self, precision: str) -> PublishedFolder:
        return PublishedFolder(self.converted / precision)

    def xml(self, precision: str) -> Path:
        return self.published(precision).target / f"{self.model.name}.xml"

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 of the recipe's input files, as the descriptor or its postprocessing's record has it.

        Only the sizes are checked again: the downloader has hashed the files, and --verify does.
        """
        known, folder = {}, self.folder
        for file in self._finished():
            path = self.downloaded / file.name
            is_there = path.is_file() and file.size in (None, path.stat().st_size)
            if file.checksum.algorithm == "sha256" and is_there:
                known[str(path.relative_to(folder))] = file.checksum.digest
        return known

    def _finished(self) -> tuple[ModelFile, ...]:
        with disk_problems(self.downloaded):
            return finished_files(self.model, self.downloaded) or ()


Make: TypeAlias = Callable[[str], Conversion]
"""precision -> its conversion; it may be the same for all, since FP16 is made when a model is saved."""


class Route(Protocol):
    def announce_dry_run(self, job: Job) -> None:
        """Report what `start` would do."""

    def announce(self, job: Job, precision: str) -> str:
        """Return one line on how the IR is made."""

    def start(self, job: Job) -> AbstractContextManager[Make]:
        """Do once what all precisions need; the models that are made may be used until the end of the context."""


@dataclass(frozen=True)
class BuiltModel:
    """A Conversion, as omz_model_tools.convert.recipes defines it."""

    model: Any  # openvino.Model
    companions: Sequence[Path | Companion]
    facts: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class DirectRoute:
    """The recipe builds the model from the downloaded files, without ONNX."""

    load_recipe: Callable[[str], Recipe]

    def announce_dry_run(self, job: Job) -> None:
        """Nothing: this route does nothing before the first precision."""

    def announce(self, job: Job, precision: str) -> str:
        return f"Conversion recipe: {_recipe_of(job)} ({job.folder}) -> {job.xml(precision)}"

    @contextmanager
    def start(self, job: Job) -> Iterator[Make]:
        recipe = self.load_recipe(_recipe_of(job))
        once = cache(lambda: build(recipe, job.folder, job.checksums()))
        yield lambda precision: once()


def _recipe_of(job: Job) -> str:
    if job.model.recipe is None:
        raise Problem(f'{job.model.descriptor}: expected a "recipe" for --route direct, got none; leave --route out')
    return job.model.recipe
