"""Text prediction with GPT-2 on OpenVINO, on nothing but numpy, openvino and tokenizers.

The names below are imported when they are first asked for, so that --help and Ctrl-C need not wait for OpenVINO.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2_text_prediction.beam import Beams
    from gpt2_text_prediction.generator import NextToken, Result, Score, Stream, TextGenerator
    from gpt2_text_prediction.problem import Problem
    from gpt2_text_prediction.sampling import Sampling
    from gpt2_text_prediction.text_rules import TextRules

__all__ = ["Beams", "NextToken", "Problem", "Result", "Sampling", "Score", "Stream", "TextGenerator", "TextRules"]

_HOMES = {
    "Beams": "beam",
    "NextToken": "generator",
    "Problem": "problem",
    "Result": "generator",
    "Sampling": "sampling",
    "Score": "generator",
    "Stream": "generator",
    "TextGenerator": "generator",
    "TextRules": "text_rules",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
