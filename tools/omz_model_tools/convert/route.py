"""The ways from downloaded files to a model, as the converter uses them; the direct one, through a recipe."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from omz_model_tools.common.problem import Problem
from omz_model_tools.common.publish import PublishedFolder
from omz_model_tools.convert.ir import build
from omz_model_tools.convert.recipes import Companion, Conversion, Recipe
from omz_model_tools.descriptor.model import Model


@dataclass(frozen=True)
class Job:
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
        """What a recipe is given: the deepest folder below which all the model's files lie."""
        return self.downloaded / os.path.commonpath([str(file.name.parent) for file in self.model.files])

    def published(self, precision: str) -> PublishedFolder:
        return PublishedFolder(self.converted / precision)

    def xml(self, precision: str) -> Path:
        return self.published(precision).target / f"{self.model.name}.xml"

    def checksums(self) -> dict[str, str]:
        """What the descriptor says of the files a recipe is given, as far as their sizes bear it out.

        They are not hashed again: the downloader has done so, and --verify does.
        """
        known = {}
        for file in self.model.files:
            path = self.downloaded / file.name
            if file.checksum.algorithm == "sha256" and file.size in (None, path.stat().st_size):
                known[str(path.relative_to(self.folder))] = file.checksum.digest
        return known


Make: TypeAlias = Callable[[str], Conversion]
"""precision -> the model in it, which may be the same for all: it is compressed as it is written."""


class Route(Protocol):
    def rehearse(self, job: Job) -> None:
        """Say what `start` would do."""

    def announce(self, job: Job, precision: str) -> str:
        """One line on how the IR is made."""

    def start(self, job: Job) -> AbstractContextManager[Make]:
        """What is done once for all precisions; a model that was made is whole until the end."""


@dataclass(frozen=True)
class Made:
    """A conversion in the sense of omz_model_tools.recipes."""

    model: Any  # openvino.Model
    companions: Sequence[Path | Companion]
    facts: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Direct:
    """The model's recipe builds the model from the files."""

    load_recipe: Callable[[str], Recipe]

    def rehearse(self, job: Job) -> None:
        """Nothing is done before the first precision."""

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
