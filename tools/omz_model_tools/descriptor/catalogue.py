"""The models and data sets there are, and those a user asks for; it knows neither downloading nor converting.

They are found by the names of their folders, and a descriptor is read when it is asked for: a broken one stands in
no other's way.
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

from omz_model_tools.common.problem import Problem, disk_problems, utf8_text
from omz_model_tools.descriptor.dataset import Dataset, read_dataset
from omz_model_tools.descriptor.model import Downloadable, Model
from omz_model_tools.descriptor.model_yml import read_model
from omz_model_tools.descriptor.schema import Place
from omz_model_tools.descriptor.strict_yaml import MOST_BYTES

T = TypeVar("T", bound=Downloadable)


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What lies in a tree as FOLDER/NAME/FILE."""

    folder: str
    file: str
    read: Callable[[bytes, Path, PurePosixPath, Place], T]
    unmatched: str  # how the complaint about an unknown name begins


MODELS: Kind[Model] = Kind("public", "model.yml", read_model, "No matching models")
DATASETS: Kind[Dataset] = Kind("datasets", "dataset.yml", read_dataset, "No matching data sets")
FOLDERS = {MODELS.folder: MODELS.file, DATASETS.folder: DATASETS.file}


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A descriptor that was found and not yet read."""

    name: str
    descriptor: Path
    kind: Kind[T]
    replaced: Path | None = None  # the packaged descriptor whose place this one takes

    def read(self) -> T:
        """What the descriptor says, or the Problem with it."""
        with disk_problems(self.descriptor):
            raw = _content(self.descriptor)
        subdirectory = PurePosixPath(self.kind.folder, self.name)
        return self.kind.read(raw, self.descriptor, subdirectory, Place((shown(self.descriptor),)))


def _content(descriptor: Path) -> bytes:
    """Its bytes; of one that is too long no more than the parser needs to see that."""
    if not stat.S_ISREG(descriptor.stat().st_mode):
        raise Problem(f"{shown(descriptor)}: expected a plain file, got a folder, a pipe or a device")
    with descriptor.open("rb") as stream:
        return stream.read(MOST_BYTES + 1)


def packaged_root() -> Path:
    """The tree of descriptors that was installed with these tools."""
    return Path(str(importlib.resources.files("omz_models")))


def find(kind: Kind[T], roots: Iterable[Path]) -> list[Entry[T]]:
    """Every entry of these trees, sorted by name.

    A name of the packaged tree, which comes first, may come again in a user's and then means the user's.
    """
    trees: dict[str, Path] = {}
    for root in roots:
        trees.setdefault(os.path.realpath(root), root)  # a tree that is named twice is one
    found: dict[str, Entry[T]] = {}
    for root in trees.values():
        for entry in _entries_of(root, kind):
            first = found.get(entry.name)
            if first is None:
                found[entry.name] = entry
            elif first.descriptor.is_relative_to(packaged_root()):
                found[entry.name] = replace(entry, replaced=first.descriptor)
            else:
                line = f"{shown(entry.descriptor)}: expected a name of its own, got that of "
                raise Problem(line + shown(first.descriptor))
    return [found[name] for name in sorted(found)]


def _entries_of(root: Path, kind: Kind[T]) -> list[Entry[T]]:
    with disk_problems(root):
        if not any((root / folder).is_dir() for folder in FOLDERS):
            raise _no_tree(root)
        if not (root / kind.folder).is_dir():
            return []
        folders = sorted((root / kind.folder).iterdir())
        return [
            Entry(folder.name, folder / kind.file, kind) for folder in folders if os.path.lexists(folder / kind.file)
        ]


def _no_tree(root: Path) -> Problem:
    """The complaint about a folder that is no tree; it says what was probably meant."""
    line = f"{shown(root)}: expected a tree of models with a folder public/ in it, got"
    if not root.is_dir():
        return Problem(f"{line} no such folder")
    here = root.resolve()
    misplaced = sorted(path for file in FOLDERS.values() for path in [*here.glob(file), *here.glob(f"*/{file}")])
    for part in [here, *(path.parent.parent for path in misplaced[:1])]:
        if part.name in FOLDERS:
            return Problem(f"{line} a part of one; give {shown(part.parent)}")
    if not misplaced:
        return Problem(f"{line} none")
    first = misplaced[0]
    folder = next(folder for folder, file in FOLDERS.items() if file == first.name)
    place = here / folder / first.parent.name
    return Problem(f"{line} {first.relative_to(here)}; move it to {shown(place)}/ and give {shown(here)}")


def shown(path: Path) -> str:
    """The path as the user would type it: relative to the current folder where it lies below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the current folder was deleted
        return str(path)


def select(kind: Kind[T], entries: Sequence[Entry[T]], patterns: Iterable[str]) -> list[Entry[T]]:
    """The entries that match a pattern, in the patterns' order, each once."""
    chosen: dict[str, Entry[T]] = {}
    for pattern in patterns:
        matching = [entry for entry in entries if fnmatch.fnmatchcase(entry.name, pattern)]
        if not matching:
            raise Problem(f'{kind.unmatched}: "{pattern}"{_meant(pattern, [entry.name for entry in entries])}')
        chosen.update((entry.name, entry) for entry in matching)
    return list(chosen.values())


def _meant(pattern: str, names: Iterable[str]) -> str:
    """A question with the name that looks most like the pattern, or nothing."""
    folded = {name.lower(): name for name in names}
    if not pattern:
        return "; a pattern is empty, perhaps there is a comma too many"
    near = [] if set(pattern) & set("*?[") else difflib.get_close_matches(pattern.lower(), folded, n=1)
    return f"; did you mean {folded[near[0]]}? --print_all lists them" if near else ""


def patterns_of(list_file: Path) -> list[str]:
    """The first word of each line of a .lst file; # opens a comment."""
    patterns = []
    with disk_problems(list_file):
        raw = list_file.read_bytes()
    lines = utf8_text(raw, list_file).removeprefix("\ufeff").splitlines()  # Windows' editors write a byte order mark
    for count, line in enumerate(lines, start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Problem(f"{list_file}: line {count}: expected a pattern, got {line!r} ({error})") from None
        patterns += words[:1]
    return patterns
