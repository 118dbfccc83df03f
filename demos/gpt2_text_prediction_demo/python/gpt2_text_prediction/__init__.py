"""Text prediction with GPT-2 on OpenVINO, on nothing but numpy, openvino and tokenizers.

The names below are imported when they are first asked for, so that --help and Ctrl-C need not wait for OpenVINO.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2_text_prediction.generator import Stream, TextGenerator
    from gpt2_text_prediction.problem import Problem
    from gpt2_text_prediction.sampling import Sampling

__all__ = ["Problem", "Sampling", "Stream", "TextGenerator"]

_HOMES = {"Problem": "problem", "Sampling": "sampling", "Stream": "generator", "TextGenerator": "generator"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
