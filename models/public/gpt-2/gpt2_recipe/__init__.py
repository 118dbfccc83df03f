"""The gpt2 recipe: build an ov.Model from the folder of a GPT-2 checkpoint.

Hugging Face's (config.json with safetensors or a pytorch_model.bin, in one file or in shards), OpenAI's, nanoGPT's, or
what a training loop saved; a LoRA adapter of peft is merged (docs/convert.md lists all). A GPT-2 with a head for
labels, GPT2ForSequenceClassification, becomes a model of labels.
omz_model_tools finds it by the entry point `gpt2` of the group omz_model_tools.recipes and uses `convert`, `describe`
and `Problem`; it saves the model, and writes the facts and the companions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import openvino as ov

from gpt2_recipe.checkpoint import Checkpoint, open_checkpoint
from gpt2_recipe.config import ACTIVATIONS, GPT2Config, read_config
from gpt2_recipe.graph import build
from gpt2_recipe.hub import hub_files
from gpt2_recipe.memory import check_memory
from gpt2_recipe.problem import Problem
from gpt2_recipe.readers.safetensors_file import metadata_of
from gpt2_recipe.special_tokens import GENERATION_CONFIG, SpecialTokens, special_tokens
from gpt2_recipe.tokenizer.added_tokens import as_fact
from gpt2_recipe.tokenizer.files import COMPANIONS, Companion, tokenizer_files
from gpt2_recipe.weights import Weights, expected_shapes, match_weights, widened_bytes

__all__ = [
    "ACTIVATIONS",
    "COMPANIONS",
    "FACTS",
    "RANDOM",
    "WEIGHTS",
    "Checkpoint",
    "Companion",
    "Conversion",
    "Description",
    "GPT2Config",
    "Problem",
    "Weights",
    "convert",
    "describe",
    "expected_shapes",
    "hub_files",
    "match_weights",
    "open_checkpoint",
    "read_config",
]

ONE_FILE = (".safetensors", ".bin")
FACTS = "omz_gpt2"
"""The section of rt_info that the facts are written to."""
WEIGHTS, RANDOM = "weights", "random"
"""What `gpt2_benchmark --make_checkpoint` notes in the metadata of a .safetensors file, which no training keeps."""


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint: the model, the files to put beside the IR, the facts for rt_info, notes for the user."""

    model: ov.Model
    companions: list[Path | Companion]
    facts: dict[str, dict[str, str | int]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Description:
    """As Conversion, without the model: for IRs that another converter makes of the same checkpoint."""

    companions: list[Path | Companion]
    facts: dict[str, dict[str, str | int]]
    notes: list[str] = field(default_factory=list)


def convert(folder: Path, checksums: Mapping[str, str] | None = None, adapter: Path | None = None) -> Conversion:
    """Build the model of a checkpoint folder.

    checksums: the known SHA-256 of the folder's files, by name; nothing is hashed here.
    adapter: the folder of a LoRA or DoRA adapter of peft, which is merged into the weights.
    Raises Problem for a folder that is incomplete, damaged, or not a GPT-2 that is implemented.
    """
    source = open_checkpoint(folder, adapter, any_task=True)
    weights = match_weights(source.path, source.tensors, source.config)
    check_memory(source.path, widened_bytes(weights))
    about = _describe(source, checksums or {})
    facts = {FACTS: {"recipe": "gpt2", **about.facts[FACTS]}}
    return Conversion(build(source.config, weights), about.companions, facts, about.notes)


def describe(folder: Path, checksums: Mapping[str, str] | None = None, *, any_task: bool = False) -> Description:
    """Describe the model of a checkpoint folder without building it; any_task: see open_checkpoint.

    The facts lack `recipe`, which says that the recipe built the graph.
    """
    return _describe(open_checkpoint(folder, any_task=any_task), checksums or {})


def _describe(source: Checkpoint, checksums: Mapping[str, str]) -> Description:
    files = tokenizer_files(source.tokenizer_folder, source.config.vocab_size)
    known = checksums.get(source.path.name) if source.path.suffix in ONE_FILE else None
    special = special_tokens(source.folder, source.config, source.tokenizer_folder)
    facts, added = _facts(source.config, known, special), as_fact(files.added)
    if added is not None:
        facts["added_tokens"] = added
    notes = [*source.notes, *files.notes]
    if source.path.suffix == ".safetensors" and metadata_of(source.path).get(WEIGHTS) == RANDOM:
        facts[WEIGHTS] = RANDOM
        notes.append(f"{source.path}: says that its weights are random: its texts mean nothing")
    generation = [path] if (path := source.folder / GENERATION_CONFIG).is_file() else []
    if source.config.classification is not None and source.config.classification.pad_token_id is None:
        notes.append(
            f"{source.folder / 'config.json'}: has no pad_token_id, so that only texts of one length run together; "
            "name there the token that the tokenizer pads with, if it has one"
        )
    return Description([*files.companions, *generation], {FACTS: facts}, notes)


def _facts(config: GPT2Config, source_sha256: str | None, special: SpecialTokens) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "n_positions": config.n_positions,
        "vocab_size": config.vocab_size,
    }
    if source_sha256 is not None:
        facts["source_sha256"] = source_sha256
    if config.activation_function not in ACTIVATIONS:  # a graph of several ops does not tell its name
        facts["activation_function"] = config.activation_function
    if special.eos:
        facts["eos_token_ids"] = " ".join(map(str, special.eos))
    if special.bos is not None:
        facts["bos_token_id"] = special.bos
    return facts if config.classification is None else facts | config.classification.facts()
