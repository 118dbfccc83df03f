"""The files of a Hugging Face repository that a conversion reads: small ones, and one kind of weights."""

from collections.abc import Collection
from fnmatch import fnmatch

from gpt2_recipe.folder_kind import kind_of
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
)
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
"""The first of each that a repository has is fetched, with its shards."""


def hub_files(names: Collection[str]) -> list[str]:
    """Return the files to fetch of those in a repository; raise Problem where it has no weights that are read."""
    adapter = next((name for name in ADAPTERS if name in names), None)
    weights = next((kind for kind in WEIGHTS if kind[0] in names), () if adapter is None else (adapter,))
    if not weights:
        readable = ", ".join([*(first for first, *_ in WEIGHTS), *ADAPTERS])
        found = kind_of(names) or f"has {', '.join(sorted(names)) or 'no file'}"
        raise Problem(f"expected weights in one of {readable}; the repository {found}")
    wanted = {*weights, *SMALL, *([] if adapter is None else [adapter])}
    return sorted(name for name in names if any(fnmatch(name, pattern) for pattern in wanted))
