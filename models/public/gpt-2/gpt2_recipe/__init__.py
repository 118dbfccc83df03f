"""The gpt2 recipe: a folder with config.json and model.safetensors becomes an ov.Model.

It knows nothing of descriptors, of downloads, or of where an IR is written: omz_model_tools finds it by the entry
point `gpt2` of the group omz_model_tools.recipes and uses `convert` and `Problem`.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov

from gpt2_recipe.config import GPT2Config, read_config
from gpt2_recipe.graph import build
from gpt2_recipe.problem import Problem
from gpt2_recipe.weights import load_weights

__all__ = ["COMPANIONS", "Conversion", "GPT2Config", "Problem", "convert", "read_config"]

COMPANIONS = ("vocab.json", "merges.txt")
"""The tokenizer's files, which lie beside the IR so that its path alone is enough to use it."""


@dataclass(frozen=True)
class Conversion:
    """What a recipe makes: the model, the files to copy beside it, and the facts for its rt_info."""

    model: ov.Model
    companions: list[Path]
    facts: dict[str, dict[str, str | int]]


def convert(folder: Path) -> Conversion:
    """Build the model of a checkpoint folder.

    Raises Problem for a folder that is incomplete, damaged, or not a GPT-2 that is implemented.
    """
    config = read_config(folder / "config.json")
    source = folder / "model.safetensors"
    weights = load_weights(source, config)
    with ThreadPoolExecutor(1) as second_core:  # hashlib lets go of the GIL: the digest costs no time of its own
        digest = second_core.submit(_sha256, source)
        model = build(config, weights)
        facts = _facts(config, digest.result())
    companions = [folder / name for name in COMPANIONS if (folder / name).exists()]
    return Conversion(model, companions, {"omz_gpt2": facts})


def _sha256(path: Path) -> str:
    return hashlib.sha256(np.memmap(path, np.uint8, mode="r").data).hexdigest()


def _facts(config: GPT2Config, source_sha256: str) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "recipe": "gpt2",
        "source_sha256": source_sha256,
        "n_positions": config.n_positions,
        "vocab_size": config.vocab_size,
    }
    if config.eos_token_id is not None:
        facts["eos_token_id"] = config.eos_token_id
    return facts
