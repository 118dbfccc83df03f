"""Checks the types of what comes from Python; the command line makes right ones only."""

import os
from collections.abc import Callable, Mapping
from threading import TIMEOUT_MAX
from typing import Any

from gpt2_text_prediction.engine.configuration import PRECISION_HINTS
from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.settings import is_number, is_whole

BACK_ENDS = ("paged", "stateful", "static")
MOST_BYTES = 1 << 63


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str)


def _is_count(value: Any) -> bool:
    return is_whole(value) and 0 <= value < MOST_BYTES


def _is_one_of(value: Any, names: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value in names


def _is_index(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_count, value))


def _is_config(value: Any) -> bool:
    names_fit = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    return names_fit and _is_path(value.get("CACHE_DIR", ""))


def _is_seconds(value: Any) -> bool:
    return is_number(value) and 0 <= value <= TIMEOUT_MAX


EXPECTED: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("a name or a path", _is_path),
    "precision": ("a name such as FP16, or None", lambda value: value is None or isinstance(value, str)),
    "vocab": ("a path or None", lambda value: value is None or _is_path(value)),
    "merges": ("a path or None", lambda value: value is None or _is_path(value)),
    "device": ("the name of a device", lambda value: isinstance(value, str)),
    "precision_hint": (f"one of {', '.join(PRECISION_HINTS)}", lambda value: _is_one_of(value, PRECISION_HINTS)),
    "num_threads": ("a whole number from 1, or None", lambda value: value is None or (_is_count(value) and value > 0)),
    "config": ("a dict of properties by their names, or None", lambda value: value is None or _is_config(value)),
    "max_seq_len": ("a whole number or None", lambda value: value is None or is_whole(value)),
    "back_end": (
        f"one of {', '.join(BACK_ENDS)}, or None",
        lambda value: value is None or _is_one_of(value, BACK_ENDS),
    ),
    "cache_budget": ("a whole number of bytes or None", lambda value: value is None or _is_count(value)),
    "prompt_lookup": ("True, False or None", lambda value: value is None or isinstance(value, bool)),
    "max_num_seqs": ("a whole number from 1, or None", lambda value: value is None or (_is_count(value) and value > 0)),
    "max_waiting_callers": ("a whole number from 0", _is_count),
    "prefill_chunk": ("a whole number from 1", lambda value: _is_count(value) and value > 0),
    "use_generation_config": ("True or False", lambda value: isinstance(value, bool)),
    "add_start_token": ("True or False", lambda value: isinstance(value, bool)),
    "logprobs": ("a whole number from 0, or None", lambda value: value is None or _is_count(value)),
    "prompt_logprobs": ("a whole number from 0, or None", lambda value: value is None or _is_count(value)),
    "max_time": ("a number of seconds from 0, or None", lambda value: value is None or _is_seconds(value)),
    "timeout": ("a number of seconds from 0", _is_seconds),
    "on_progress": ("a function or None", lambda value: value is None or callable(value)),
    "index": ("(prompt, sample), two whole numbers from 0", _is_index),
    "clock": ("a function", callable),
}
"""By its name, what an argument is, and whether a value is that."""


def require_arguments(**given: Any) -> None:
    """Raise Problem for the first argument of a wrong type."""
    for name, value in given.items():
        expected, accepts = EXPECTED[name]
        if not accepts(value):
            raise Problem(f"{name}: expected {expected}, got {type(value).__name__}: {shown(value)}")


def require_type(kind: type, value: object) -> None:
    """Raise Problem for a value of a wrong type."""
    if not isinstance(value, kind):
        raise Problem(f"expected a {kind.__name__}, got {type(value).__name__}: {shown(value)}")
