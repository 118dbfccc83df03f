"""The ways from downloaded files to a model, as the converter uses them; the direct one, through a recipe."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from omz_model_tools.common.problem import Problem
from omz_model_tools.convert.ir import build
from omz_model_tools.convert.job import Job
from omz_model_tools.convert.recipes import Companion, Conversion, Recipe

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
