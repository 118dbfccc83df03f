"""Find the descriptors of models and data sets in their trees, and select those that match a user's patterns.

They are found by the names of their folders, and a descriptor is only read when it is needed: a broken one does not
prevent the use of others.
"""

import difflib
import fnmatch
import importlib.resources
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from omz_model_tools.common.problem import Problem, disk_problems, read_file, utf8_text
from omz_model_tools.descriptor.dataset import Dataset, read_dataset
from omz_model_tools.descriptor.model import Downloadable, Model
from omz_model_tools.descriptor.model_yml import read_model
from omz_model_tools.descriptor.schema import Location
from omz_model_tools.descriptor.strict_yaml import MOST_BYTES

T = TypeVar("T", bound=Downloadable)


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of descriptor, stored in a tree as FOLDER/NAME/FILE."""

    folder: str
    file: str
    read: Callable[[bytes, Path, PurePosixPath, Location], T]
    unmatched: str  # the beginning of the error for a pattern without a match


MODELS: Kind[Model] = Kind("public", "model.yml", read_model, "No matching models")
DATASETS: Kind[Dataset] = Kind("datasets", "dataset.yml", read_dataset, "No matching data sets")
COMPOSITE = "composite-model.yml"
"""Open Model Zoo's descriptor of a model whose stages, models themselves, lie in the folders beside it."""
FOLDERS = {MODELS.folder: MODELS.file, DATASETS.folder: DATASETS.file}


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A descriptor that was found, and is not yet read."""

    name: str
    descriptor: Path
    kind: Kind[T]
    replaced: Path | None = None  # the packaged descriptor that this one overrides

    def read(self) -> T:
        """Read the descriptor; Problem if it is broken, or that of a composite model."""
        if self.descriptor.name == COMPOSITE:
            raise _composite(self.descriptor)
        with disk_problems(self.descriptor):
            raw = _content(self.descriptor)
        subdirectory = PurePosixPath(self.kind.folder, self.name)
        return self.kind.read(raw, self.descriptor, subdirectory, Location((display_path(self.descriptor),)))


def _content(descriptor: Path) -> bytes:
    """Return the descriptor's bytes; of one that is too long, one byte more than the parser accepts."""
    if not stat.S_ISREG(descriptor.stat().st_mode):
        raise Problem(f"{display_path(descriptor)}: expected a plain file, got a folder, a pipe or a device")
    with descriptor.open("rb") as stream:
        return stream.read(MOST_BYTES + 1)


def packaged_root() -> Path:
    """Return the tree of descriptors that is installed with these tools."""
    return Path(str(importlib.resources.files("omz_models")))


def packaged_dataset(name: str) -> Dataset:
    """The data set of this name that was installed with these tools."""
    return Entry(name, packaged_root() / DATASETS.folder / name / DATASETS.file, DATASETS).read()


def find(kind: Kind[T], roots: Iterable[Path]) -> list[Entry[T]]:
    """Return every entry of these trees, sorted by name.

    A user's descriptor overrides the packaged one of the same name; two users' descriptors of one name are a Problem.
    """
    trees: dict[str, Path] = {}
    for root in roots:
        trees.setdefault(os.path.realpath(root), root)  # a tree given twice counts once
    found: dict[str, Entry[T]] = {}
    for root in trees.values():
        for entry in _entries_of(root, kind):
            first = found.get(entry.name)
            if first is None:
                found[entry.name] = entry
            elif first.descriptor.is_relative_to(packaged_root()):
                found[entry.name] = replace(entry, replaced=first.descriptor)
            else:
                line = f"{display_path(entry.descriptor)}: expected a name of its own, got that of "
                raise Problem(line + display_path(first.descriptor))
    return [found[name] for name in sorted(found)]


def _entries_of(root: Path, kind: Kind[T]) -> list[Entry[T]]:
    with disk_problems(root):
        if not any((root / folder).is_dir() for folder in FOLDERS):
            raise _no_tree(root)
        if not (root / kind.folder).is_dir():
            return []
        folders = sorted((root / kind.folder).iterdir())
        found = ((folder, _descriptor_in(folder, kind)) for folder in folders)
        return [Entry(folder.name, descriptor, kind) for folder, descriptor in found if descriptor is not None]


def _descriptor_in(folder: Path, kind: Kind[T]) -> Path | None:
    """Return the path of the folder's descriptor, if it has one; a composite model has none of its own kind."""
    names = (kind.file, COMPOSITE)
    return next((folder / name for name in names if os.path.lexists(folder / name)), None)


def _composite(descriptor: Path) -> Problem:
    stages = ", ".join(sorted(path.parent.name for path in descriptor.parent.glob("*/model.yml")))
    return Problem(
        f"{display_path(descriptor)}: expected a single model, got a composite one of {stages or 'no stages'}; "
        "to use a stage alone, copy its folder beside that of the composite model"
    )


def _no_tree(root: Path) -> Problem:
    """Return the Problem of a folder that is no tree, with what was probably meant."""
    line = f"{display_path(root)}: expected a tree of models with a folder public/ in it, got"
    if not root.is_dir():
        return Problem(f"{line} no such folder")
    here = root.resolve()
    misplaced = sorted(path for file in FOLDERS.values() for path in [*here.glob(file), *here.glob(f"*/{file}")])
    for part in [here, *(path.parent.parent for path in misplaced[:1])]:
        if part.name in FOLDERS:
            return Problem(f"{line} a part of one; give {display_path(part.parent)}")
    if not misplaced:
        return Problem(f"{line} none")
    first = misplaced[0]
    folder = next(folder for folder, file in FOLDERS.items() if file == first.name)
    place = here / folder / first.parent.name
    return Problem(f"{line} {first.relative_to(here)}; move it to {display_path(place)}/ and give {display_path(here)}")


def display_path(path: Path) -> str:
    """Return a path as a user would type it: relative to the current folder if it is below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the current folder was deleted
        return str(path)


def flags_selecting(model: Downloadable) -> list[str]:
    """Return the flags by which every command selects this model, for the line that advises one."""
    tree = model.descriptor.parents[2]
    return ["--name", model.name, *([] if tree == packaged_root() else ["--models_dir", display_path(tree)])]


def select(kind: Kind[T], entries: Sequence[Entry[T]], patterns: Iterable[str]) -> list[Entry[T]]:
    """Return the entries that match a pattern, in the order of the patterns, each once."""
    chosen: dict[str, Entry[T]] = {}
    for pattern in patterns:
        matching = [entry for entry in entries if fnmatch.fnmatchcase(entry.name, pattern)]
        if not matching:
            raise Problem(f'{kind.unmatched}: "{pattern}"{_meant(pattern, [entry.name for entry in entries])}')
        chosen.update((entry.name, entry) for entry in matching)
    return list(chosen.values())


def _meant(pattern: str, names: Iterable[str]) -> str:
    """Return a hint: the name closest to the pattern, or nothing."""
    folded = {name.lower(): name for name in names}
    if not pattern:
        return "; a pattern is empty, perhaps there is a comma too many"
    near = [] if set(pattern) & set("*?[") else difflib.get_close_matches(pattern.lower(), folded, n=1)
    return f"; did you mean {folded[near[0]]}? --print_all lists them" if near else ""


def patterns_of(list_file: Path) -> list[str]:
    """Return the patterns of a .lst file: the first word of each line; # begins a comment."""
    patterns = []
    text = utf8_text(read_file(list_file), list_file)
    lines = text.removeprefix("\ufeff").splitlines()  # Windows' editors write a byte order mark
    for count, line in enumerate(lines, start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Problem(f"{list_file}: line {count}: expected a pattern, got {line!r} ({error})") from None
        patterns += words[:1]
    return patterns
