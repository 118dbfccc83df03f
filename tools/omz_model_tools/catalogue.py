"""The models there are, and those a user asks for; it knows neither downloading nor converting."""

import fnmatch
import importlib.resources
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from omz_model_tools.descriptor import Model
from omz_model_tools.problem import Problem, disk_problems
from omz_model_tools.reader import read_model
from omz_model_tools.schema import Place


def packaged_root() -> Path:
    """The tree of descriptors that was installed with these tools."""
    return Path(str(importlib.resources.files("omz_models")))


def load_models(roots: Iterable[Path]) -> list[Model]:
    """Every ROOT/public/NAME/model.yml, sorted by name; the first that is wrong is a Problem."""
    models: dict[str, Model] = {}
    for root in roots:
        for model in _models_of(root):
            if model.name in models:
                first = _shown(models[model.name].descriptor)
                raise Problem(f"{_shown(model.descriptor)}: expected a model name of its own, got that of {first}")
            models[model.name] = model
    return sorted(models.values(), key=lambda model: model.name)


def _models_of(root: Path) -> list[Model]:
    with disk_problems(root):
        if not (root / "public").is_dir():
            raise Problem(f"{_shown(root)}: expected a tree of models with a folder public/ in it, got none")
        return [_load(path) for path in sorted((root / "public").glob("*/model.yml"))]


def _load(path: Path) -> Model:
    with disk_problems(path):
        raw = path.read_bytes()
    return read_model(raw, path, PurePosixPath("public", path.parent.name), Place((_shown(path),)))


def _shown(path: Path) -> str:
    """The path as the user would type it: relative to the current folder where it lies below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the current folder was deleted
        return str(path)


def select(models: Sequence[Model], patterns: Iterable[str]) -> list[Model]:
    """The models that match a pattern, in the patterns' order, each once."""
    chosen: dict[str, Model] = {}
    for pattern in patterns:
        matching = [model for model in models if fnmatch.fnmatchcase(model.name, pattern)]
        if not matching:
            raise Problem(f'No matching models: "{pattern}"')
        chosen.update((model.name, model) for model in matching)
    return list(chosen.values())


def patterns_of(list_file: Path) -> list[str]:
    """The first word of each line of a .lst file; # opens a comment."""
    patterns = []
    with disk_problems(list_file):
        raw = list_file.read_bytes()
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise Problem(f"{list_file}: expected UTF-8 text, got byte 0x{raw[error.start]:02x}") from None
    for count, line in enumerate(lines, start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Problem(f"{list_file}: line {count}: expected a pattern, got {line!r} ({error})") from None
        patterns += words[:1]
    return patterns
