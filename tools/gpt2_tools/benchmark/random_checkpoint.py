"""A checkpoint with random weights in the sizes and the layout of GPT-2, for measurements without a download.

The tokenizer is a real byte-level BPE: gpt-2-mini's, with more merges up to the vocabulary's size.
"""

import json
import os
import shutil
from importlib.resources import as_file, files
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save_file

from gpt2_recipe import RANDOM, WEIGHTS, GPT2Config, expected_shapes, read_config
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.sizes import SIZES

END_OF_TEXT = "<|endoftext|>"


def make_checkpoint(folder: Path, size: str, seed: int = 0) -> None:
    """Write config.json, model.safetensors (F32), vocab.json and merges.txt into a new or empty folder.

    Raises Problem if the folder is not empty or cannot be written.
    """
    folder = folder.absolute()
    new = folder.parent / f".{folder.name}.{os.getpid()}.new"
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise Problem(f"{folder}: expected a new or an empty folder; nothing was written")
        new.mkdir(parents=True)
        _write(new, size, seed)
        new.replace(folder)
    except OSError as error:
        raise Problem(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
    except SafetensorError as error:
        raise Problem(f"{folder}: cannot be written: {error}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write(folder: Path, size: str, seed: int) -> None:
    symbols, merges = _vocabulary(SIZES[size].get("vocab_size", 50257))
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    eos = symbols.index(END_OF_TEXT)
    fields = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "bos_token_id": eos,
        "eos_token_id": eos,
        "n_positions": 1024,
        "vocab_size": 50257,
    }
    (folder / "config.json").write_text(json.dumps(fields | SIZES[size], indent=2) + "\n", encoding="utf-8")
    weights = folder / "model.safetensors"
    # transformers wants the format; the other is so that whoever converts or runs them is told.
    save_file(_weights(read_config(folder / "config.json"), seed), weights, {"format": "pt", WEIGHTS: RANDOM})
    _order_metadata(weights)
    weights.chmod((folder / "config.json").stat().st_mode)  # safetensors' is for its owner alone


def _order_metadata(weights: Path) -> None:
    """Write the metadata of a .safetensors file in one order: safetensors has them in another each time."""
    one, other = (f'"{name}":"{value}"'.encode() for name, value in (("format", "pt"), (WEIGHTS, RANDOM)))
    with weights.open("r+b") as file:
        start = file.read(8 + len(b'{"__metadata__":{') + len(one) + 1 + len(other))
        file.seek(0)
        file.write(start.replace(other + b"," + one, one + b"," + other))


def _weights(config: GPT2Config, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Return weights by GPT-2's initialization: normal with std 0.02, biases 0, layer norms 1."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in expected_shapes(config).items():
        if name.endswith(".bias"):
            weights[name] = np.zeros(shape, np.float32)
        elif ".ln_" in name or name == "ln_f.weight":
            weights[name] = np.ones(shape, np.float32)
        else:
            weights[name] = rng.standard_normal(shape, np.float32) * np.float32(0.02)
    return weights


def _vocabulary(size: int) -> tuple[list[str], list[str]]:
    """Return the symbols in the order of their ids, `<|endoftext|>` last, and the lines of merges.txt."""
    with as_file(files("omz_models") / "public/gpt-2-mini") as mini:
        known = json.loads((mini / "vocab.json").read_bytes())
        merges = (mini / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    symbols = [symbol for symbol in sorted(known, key=known.get) if symbol != END_OF_TEXT]
    known_symbols = set(symbols)
    pairs = ((symbols[a], symbols[sum_ - a]) for sum_ in count(256) for a in range(256, sum_ - 255))
    while len(symbols) < size - 1:
        left, right = next(pairs)
        if left + right not in known_symbols:
            known_symbols.add(left + right)
            symbols.append(left + right)
            merges.append(f"{left} {right}")
    return [*symbols[: size - 1], END_OF_TEXT], merges
