"""The files of a Hugging Face repository that a conversion reads: small ones, and one kind of weights."""

from collections.abc import Collection
from fnmatch import fnmatch

from gpt2_recipe.problem import Problem

SMALL = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "adapter_config.json",
)
WEIGHTS = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
    ("adapter_model.safetensors",),
)
"""The first of these that a repository has is fetched, with its shards."""


def hub_files(names: Collection[str]) -> list[str]:
    """Return the files to fetch of those in a repository; raise Problem where it has no weights that are read."""
    for first, *shards in WEIGHTS:
        if first in names:
            parts = [name for name in names if any(fnmatch(name, shard) for shard in shards)]
            return sorted([first, *parts, *(name for name in SMALL if name in names)])
    readable = ", ".join(first for first, *_ in WEIGHTS)
    raise Problem(f"expected weights in one of {readable}; the repository has {', '.join(sorted(names)) or 'no file'}")
