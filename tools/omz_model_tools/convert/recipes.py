"""Recipes: the interface of a module that turns a folder of downloaded files into a model, and how it is found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.problem import Problem

GROUP = "omz_model_tools.recipes"  # of entry points


class Companion(Protocol):
    """A file to write beside the IR, with its content."""

    @property
    def name(self) -> str: ...

    @property
    def content(self) -> bytes: ...


class Description(Protocol):
    """What belongs to a model apart from its graph, whichever converter makes the IR."""

    @property
    def companions(self) -> Sequence[Path | Companion]: ...  # files beside the IR: to copy, or to write

    @property
    def facts(self) -> Mapping[str, Mapping[str, str | int]]: ...  # for the IR's rt_info

    @property
    def notes(self) -> Sequence[str]: ...  # lines for the user


class Conversion(Description, Protocol):
    @property
    def model(self) -> Any: ...  # openvino.Model


class Recipe(Protocol):
    """The module that an entry point names.

    For --hub it also has hub_files(names) -> names: those that it reads of the files in a repository.
    """

    Problem: type[Exception]  # what it raises for an error that the user can fix

    def convert(self, folder: Path, checksums: Mapping[str, str], adapter: Path | None = None) -> Conversion:
        """Convert a folder; checksums: SHA-256 by file name; adapter: given only by --peft_adapter."""

    def describe(self, folder: Path, checksums: Mapping[str, str]) -> Description: ...  # without building a model


def load_recipe(name: str) -> Recipe:
    """Return the installed recipe of that name."""
    from importlib import metadata  # noqa: PLC0415 - slow to import

    installed = metadata.entry_points(group=GROUP)
    for entry in installed:
        if entry.name == name:
            with ends_at_once():  # it imports OpenVINO
                recipe: Recipe = entry.load()
            return recipe
    known = ", ".join(sorted({entry.name for entry in installed})) or "none"
    raise Problem(f'"recipe": expected one that is installed ({known}), got {name!r}')
