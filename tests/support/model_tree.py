"""Descriptors written on the fly: public/NAME/model.yml, datasets/NAME/dataset.yml; for tests of the model tools."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from omz_model_tools.descriptor.catalogue import MODELS, find
from omz_model_tools.descriptor.model import Model


def file_entry(name: str, content: bytes, source: Any, **changed: Any) -> dict[str, Any]:
    """An element of `files:` that is true for `content`, but for what is changed; None removes a key."""
    entry = {
        "name": name,
        "size": len(content),
        "checksum": {"$type": "sha256", "value": hashlib.sha256(content).hexdigest()},
        "source": source,
        **changed,
    }
    return {key: value for key, value in entry.items() if value is not None}


def descriptor(*files: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A whole valid descriptor with these files, but for what is changed; None removes a key."""
    value = {
        "description": "A toy.",
        "task_type": "text_prediction",
        "files": list(files) or [file_entry("weights.bin", b"", "https://example.invalid/weights.bin")],
        "framework": "pytorch",
        "recipe": "toy",
        "license": "https://example.invalid/LICENSE",
        **changed,
    }
    return {key: content for key, content in value.items() if content is not None}


def dataset(*files: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The same for a data set."""
    value = {
        "description": "Words.",
        "license": "https://example.invalid/LICENSE",
        "files": list(files) or [file_entry("words.txt", b"", "https://example.invalid/words.txt")],
        **changed,
    }
    return {key: content for key, content in value.items() if content is not None}


def write_model(root: Path, name: str, value: dict[str, Any]) -> Path:
    """root/public/NAME/model.yml; returns its path."""
    return _write(root / "public" / name / "model.yml", value)


def write_dataset(root: Path, name: str, value: dict[str, Any]) -> Path:
    """root/datasets/NAME/dataset.yml; returns its path."""
    return _write(root / "datasets" / name / "dataset.yml", value)


def load_models(roots: Iterable[Path]) -> list[Model]:
    """Every model of these trees, sorted by name; Problem for the first broken descriptor."""
    return [entry.read() for entry in find(MODELS, roots)]


def _write(path: Path, value: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    return path
