"""The gpt2 recipe: a folder with config.json and model.safetensors becomes an ov.Model.

It knows nothing of descriptors, of downloads, or of where an IR is written: omz_model_tools finds it by the entry
point `gpt2` of the group omz_model_tools.recipes and uses `convert` and `Problem`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from gpt2_recipe.config import GPT2Config, read_config
from gpt2_recipe.graph import build
from gpt2_recipe.problem import Problem
from gpt2_recipe.weights import load_weights

__all__ = ["COMPANIONS", "Conversion", "GPT2Config", "Problem", "convert", "read_config"]

WEIGHTS = "model.safetensors"
COMPANIONS = ("vocab.json", "merges.txt")
"""The tokenizer's files, which lie beside the IR so that its path alone is enough to use it."""


@dataclass(frozen=True)
class Conversion:
    """What a recipe makes: the model, the files to copy beside it, and the facts for its rt_info."""

    model: ov.Model
    companions: list[Path]
    facts: dict[str, dict[str, str | int]]


def convert(folder: Path, checksums: Mapping[str, str] | None = None) -> Conversion:
    """Build the model of a checkpoint folder.

    checksums: SHA-256 by file name, as far as it is known of the files that lie there: nothing is hashed here.
    Raises Problem for a folder that is incomplete, damaged, or not a GPT-2 that is implemented.
    """
    config = read_config(folder / "config.json")
    weights = load_weights(folder / WEIGHTS, config)
    companions = [folder / name for name in COMPANIONS if (folder / name).exists()]
    facts = _facts(config, (checksums or {}).get(WEIGHTS))
    return Conversion(build(config, weights), companions, {"omz_gpt2": facts})


def _facts(config: GPT2Config, source_sha256: str | None) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "recipe": "gpt2",
        "n_positions": config.n_positions,
        "vocab_size": config.vocab_size,
    }
    if source_sha256 is not None:
        facts["source_sha256"] = source_sha256
    if config.eos_token_id is not None:
        facts["eos_token_id"] = config.eos_token_id
    return facts
