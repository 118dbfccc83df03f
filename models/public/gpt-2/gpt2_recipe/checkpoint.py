"""Open a checkpoint folder: find its configuration and its weights' files, and map them by the right reader."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gpt2_recipe.classification import HEAD, names_classifier, read_classification
from gpt2_recipe.config import GPT2Config, read_config
from gpt2_recipe.folder_kind import without_config, without_weights
from gpt2_recipe.lora import merge
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.readers.nanogpt import from_linear, is_linear, is_nanogpt, read_nanogpt
from gpt2_recipe.readers.openai import HPARAMS, latest_prefix, read_hparams, read_openai
from gpt2_recipe.readers.peft_adapter import ADAPTER_CONFIG, PeftAdapter, read_adapter
from gpt2_recipe.readers.safetensors_file import read_tensors
from gpt2_recipe.readers.sharded import read_sharded
from gpt2_recipe.readers.torch_file import load_torch, read_torch, tensors_of
from gpt2_recipe.tensor import StoredTensor
from gpt2_recipe.weights import is_tied, no_language_model, notes_on_heads, published

READERS: dict[str, Callable[[Path], dict[str, StoredTensor]]] = {
    "model.safetensors": read_tensors,
    "model.safetensors.index.json": lambda path: read_sharded(path, read_tensors),
    "pytorch_model.bin": read_torch,
    "pytorch_model.bin.index.json": lambda path: read_sharded(path, read_torch),
}
"""The first of these that a folder has is read."""
SAVED_BY_TRAINING_LOOPS = (".ckpt", ".pt", ".pth")
NOT_WEIGHTS = re.compile(r"(optimizer|scheduler|scaler|rng_state|random_states|training_args|.*optim_states).*")
"""The other files that trainers save with torch.save."""
TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer_config.json")
"""The files of which one shows that an adapter was saved with its tokenizer."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it is stored; `path` is the file to name in errors."""

    config: GPT2Config
    path: Path
    tensors: dict[str, StoredTensor]  # by their published names
    folder: Path  # of the model
    tokenizer_folder: Path  # of an adapter, if that has a tokenizer of its own
    notes: tuple[str, ...] = ()  # lines for the user


def open_checkpoint(folder: Path, adapter: Path | None = None, *, any_task: bool = False) -> Checkpoint:
    """Read the configuration of a folder and map its weights.

    any_task: also those of a GPT2ForSequenceClassification, which are refused otherwise.
    adapter: the folder of a peft adapter to merge into them; without it, an adapter in the folder itself is merged,
    into the local folder that it names as its base, or else into the weights beside it.
    Raises Problem for a folder that is no checkpoint, or whose files are incomplete or damaged.
    """
    source = _with_adapter(folder, adapter)
    if source.config.classification is not None and not any_task:
        raise no_language_model(source.path, HEAD)
    return source


def _with_adapter(folder: Path, adapter: Path | None) -> Checkpoint:
    if adapter is not None and adapter.resolve() != folder.resolve():
        return _merged(_with_adapter(folder, None), read_adapter(adapter))
    if adapter is None and not os.path.lexists(folder / ADAPTER_CONFIG):
        return _open(folder)
    found = read_adapter(folder)
    base = _base_folder(folder, found)
    note = f"{folder}: its {ADAPTER_CONFIG} is that of an adapter, which is merged into the weights of {base}"
    merged = _merged(_open(base), found)
    return replace(merged, notes=(note, *merged.notes))


def _base_folder(folder: Path, adapter: PeftAdapter) -> Path:
    """Return the folder of the weights that an adapter was trained on: the one it names, or else its own."""
    if adapter.base is not None and (Path(adapter.base) / "config.json").is_file():
        base = Path(adapter.base)
        if os.path.lexists(base / ADAPTER_CONFIG) and base.resolve() != folder.resolve():
            raise Problem(f"{base}: holds an adapter too; merge both: --checkpoint {base} --peft_adapter {folder}")
        return base
    if any(os.path.lexists(folder / name) for name in READERS):
        return folder
    raise Problem(
        f'{folder / ADAPTER_CONFIG}: "base_model_name_or_path": expected the folder of a checkpoint, got '
        f"{one_line(json.dumps(adapter.base))}; give that model's folder too: --checkpoint BASE --peft_adapter {folder}"
    )


def _merged(base: Checkpoint, adapter: PeftAdapter) -> Checkpoint:
    tensors = merge(adapter, base.tensors, tied=base.config.tie_word_embeddings and is_tied(base.tensors))
    tie = base.config.tie_word_embeddings and "lm_head.weight" not in tensors
    config = replace(base.config, vocab_size=_rows(tensors, base), tie_word_embeddings=tie)
    folder = adapter.path.parent
    has_tokenizer = any((folder / name).is_file() for name in TOKENIZERS)
    return replace(
        base, config=config, tensors=tensors, tokenizer_folder=folder if has_tokenizer else base.tokenizer_folder
    )


def _rows(tensors: dict[str, StoredTensor], base: Checkpoint) -> int:
    """Return the rows of the embedding, which an adapter replaces whole where tokens were added."""
    shapes = [found["wte.weight"].shape for found in (base.tensors, tensors) if "wte.weight" in found]
    if len(shapes) == 2 and shapes[0] != shapes[1] and len(shapes[1]) == 2:
        return shapes[1][0]
    return base.config.vocab_size


def _open(folder: Path) -> Checkpoint:
    if os.path.lexists(folder / HPARAMS) and not os.path.lexists(folder / "config.json"):
        config, prefix = read_hparams(folder / HPARAMS), latest_prefix(folder)
        return _opened(config, prefix.with_name(prefix.name + ".index"), read_openai(prefix))
    for name, read in READERS.items():
        if os.path.lexists(folder / name):
            return _opened(_config_beside(folder / name), folder / name, read(folder / name))
    path = _saved_by_a_training_loop(folder)
    if path is None:
        raise _no_checkpoint(folder)
    loaded = load_torch(path)
    if is_nanogpt(loaded):
        config, tensors = read_nanogpt(path, loaded)
        return _opened(config, path, tensors)
    return _opened(_config_beside(path), path, tensors_of(path, loaded))


def _config_beside(path: Path) -> GPT2Config:
    config = path.with_name("config.json")
    if not os.path.lexists(config):
        raise Problem(f"{config}: cannot be read: there is no such file; put the model's own beside its {path.name}")
    return read_config(config)


def _no_checkpoint(folder: Path) -> Problem:
    """Return the Problem of a folder without weights that are read."""
    if not os.path.lexists(folder / "config.json"):
        return Problem(f"{folder}: {without_config(folder)}")
    read_config(folder / "config.json")
    first, *others = READERS
    missing = f"{folder / first}: cannot be read: there is no such file, nor {', '.join(others)}"
    kind = without_weights(folder)
    return Problem(missing if kind is None else f"{folder}: {kind}")


def _opened(config: GPT2Config, path: Path, tensors: dict[str, StoredTensor]) -> Checkpoint:
    notes = tuple(notes_on_heads(path, tensors))
    weights = published(path, tensors)
    if is_linear(config, weights):
        weights = from_linear(path, config, weights)
    beside = path.with_name("config.json")
    if HEAD in weights or (beside.is_file() and names_classifier(beside)):
        config = replace(config, classification=read_classification(beside, config.vocab_size))
    return Checkpoint(config, path, weights, path.parent, path.parent, notes)


def _saved_by_a_training_loop(folder: Path) -> Path | None:
    """Return the one file of a folder that torch.save wrote, and that is no other state of a trainer's."""
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix in SAVED_BY_TRAINING_LOOPS and not NOT_WEIGHTS.fullmatch(path.name) and path.is_file()
    )
    if len(found) > 1:
        names = ", ".join(one_line(path.name) for path in found[:6])
        raise Problem(f"{folder}: expected one checkpoint, got {names}; move the others out of the folder")
    return found[0] if found else None
