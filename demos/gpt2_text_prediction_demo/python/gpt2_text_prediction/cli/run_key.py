"""What the texts of a run with -o depend on, as checksums: it is resumed only where all of them are the same."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from gpt2_text_prediction.engine.checksums import checksum, model_checksums, user_cache
from gpt2_text_prediction.engine.configuration import ARITHMETIC
from gpt2_text_prediction.settings import SETTINGS

DRAWING = "1"
"""Another number where the same key, seed and prompt give another text."""
PARTS = {
    "drawing": "this program's way of drawing",
    "model": "the model's description",
    "weights": "the weights",
    "tokenizer": "the tokenizer",
    "settings": "the settings",
    "device": "the device or its properties",
    "openvino": "OpenVINO's version",
}
"""The parts of a key, and their names for the user."""
NOT_IN_KEY = {"CACHE_DIR", "INFERENCE_NUM_THREADS", *ARITHMETIC}
"""Properties of a device whose value changes how fast a text comes, and nothing else; and those that each record
names in words."""


def run_key(args: argparse.Namespace, settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """Return the key of a run, by part: of its files, its settings but the seed, and its device.

    given: the properties that the user names; not its arithmetic, see Records.

    Raises Problem for a file that is missing or cannot be used.
    """
    values = {name: row.default for name, row in SETTINGS.items()} | dict(settings)
    del values["seed"]
    back_end = [args.static_shape, "CACHE_DIR" in given]  # which has another one
    records = [] if args.logprobs is None else [args.logprobs]
    return key_of(args, DRAWING, [args.max_seq_len, values, *records], back_end, given)


def key_of(
    args: argparse.Namespace, drawing: str, settings: Any, back_end: list[bool], given: Mapping[str, Any]
) -> dict[str, str]:
    """Return the key of a run with flags for a model, its tokenizer and its device. Raises Problem as run_key does."""
    import openvino as ov  # noqa: PLC0415

    from gpt2_text_prediction.engine.ir import positions_beside  # noqa: PLC0415
    from gpt2_text_prediction.text import tokenizer_files  # noqa: PLC0415

    files = model_checksums(args.model, user_cache())
    properties = {name: str(value) for name, value in given.items() if name not in NOT_IN_KEY}
    parts = {
        "drawing": drawing,
        "model": [files["model"], positions_beside(args.model)],
        "weights": files["weights"],
        "tokenizer": [checksum(path) for path in tokenizer_files(args.model, args.vocab, args.merges)],
        "settings": settings,
        "device": [args.device, *back_end, properties],
        "openvino": ov.get_version(),
    }
    return {name: _digest(value) for name, value in parts.items()}


def differing(key: Mapping[str, str], other: Mapping[str, Any]) -> str:
    """Return the parts of two keys that differ, in words."""
    names = [words for part, words in PARTS.items() if other.get(part) != key[part]]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
