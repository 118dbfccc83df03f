"""Open a checkpoint folder: find its configuration and its weights' files, and map them by the right reader."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpt2_recipe.config import GPT2Config, read_config
from gpt2_recipe.problem import Problem
from gpt2_recipe.readers.openai import HPARAMS, latest_prefix, read_hparams, read_openai
from gpt2_recipe.readers.safetensors_file import read_tensors
from gpt2_recipe.readers.sharded import read_sharded
from gpt2_recipe.readers.torch_file import read_torch
from gpt2_recipe.tensor import StoredTensor

READERS: dict[str, Callable[[Path], dict[str, StoredTensor]]] = {
    "model.safetensors": read_tensors,
    "model.safetensors.index.json": lambda path: read_sharded(path, read_tensors),
    "pytorch_model.bin": read_torch,
    "pytorch_model.bin.index.json": lambda path: read_sharded(path, read_torch),
}
"""The first of these that a folder has is read."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it is stored; `path` is the file to name in errors."""

    config: GPT2Config
    path: Path
    tensors: dict[str, StoredTensor]


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read the configuration of a folder and map its weights.

    Raises Problem for a folder that is no checkpoint, or whose files are incomplete or damaged.
    """
    if os.path.lexists(folder / HPARAMS) and not os.path.lexists(folder / "config.json"):
        config, prefix = read_hparams(folder / HPARAMS), latest_prefix(folder)
        return Checkpoint(config, prefix.with_name(prefix.name + ".index"), read_openai(prefix))
    config = read_config(folder / "config.json")
    for name, read in READERS.items():
        if os.path.lexists(folder / name):
            return Checkpoint(config, folder / name, read(folder / name))
    first, *others = READERS
    raise Problem(f"{folder / first}: cannot be read: there is no such file, nor {', '.join(others)}")
