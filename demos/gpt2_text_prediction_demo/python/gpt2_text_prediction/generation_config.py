"""The generation_config.json beside an IR, as transformers writes it: a model's own defaults for generation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2_text_prediction.problem import Problem, readable
from gpt2_text_prediction.settings import SETTINGS

NAME = "generation_config.json"
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
OTHERS = (
    "max_new_tokens",
    "min_new_tokens",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "num_beams",
    "length_penalty",
    "early_stopping",
)

ELSEWHERE = (
    "_from_model_config",
    "transformers_version",
    "do_sample",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "use_cache",
    *SAMPLING,
    *OTHERS,
)
"""What is used here, by the converter, which writes the tokens into the IR, or changes no text."""
NEUTRAL = {"max_length": 20}
"""Defaults of transformers that leave the texts as they are, beside nothing, 0 and 1."""


def ignored_names(model: Path) -> list[str]:
    """Return the names in the file beside a model that would change its texts in transformers, and here do not.

    Raises Problem as read_generation_config does.
    """
    fields = _read(model.parent / NAME)
    return sorted(
        name
        for name, value in fields.items()
        if name not in ELSEWHERE and value not in (None, 0, 1, [], {}, NEUTRAL.get(name))
    )


def read_generation_config(model: Path) -> dict[str, Any]:
    """Return the settings, by name, of the file beside a model; none where there is no file.

    As in transformers, the sampling settings count with "do_sample": true only, and false means greedy. Beam search
    does not draw, so that num_beams above 1 leaves them out.
    Raises Problem for a file that is broken or has a value out of range.
    """
    path = model.parent / NAME
    fields = _read(path)
    found = {name: fields[name] for name in OTHERS if fields.get(name) is not None}
    if found.get("num_beams", 1) == 1 and fields.get("do_sample") is True:
        found |= {name: fields[name] for name in SAMPLING if fields.get(name) is not None}
    elif found.get("num_beams", 1) == 1 and fields.get("do_sample") is False:
        found["temperature"] = 0
    for name, value in found.items():
        try:
            SETTINGS[name].check(value)
        except Problem as problem:
            raise Problem(f"{path}: {problem}") from None
    return found


def _read(path: Path) -> Mapping[str, Any]:
    with readable(path):
        if not path.is_file():
            return {}
        raw = path.read_bytes()
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem(f"{path}: is not JSON: {error}; fetch it again, or remove it") from None
    if not isinstance(fields, dict):
        raise Problem(f"{path}: expected a JSON object, got {type(fields).__name__}")
    return fields
