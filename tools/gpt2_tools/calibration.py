"""Calibration data for omz_quantizer from a text; found by the entry point gpt2 of omz_model_tools.calibrations."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_text_prediction.engine import read_model
from gpt2_text_prediction.text import load_tokenizer
from gpt2_tools.common.problem import Problem, one_problem
from omz_model_tools.common import read_file, utf8_text

__all__ = ["Problem", "inputs"]

WINDOW = 256
MAX_WINDOWS = 64


def inputs(text: Path, ir: Path) -> list[npt.NDArray[np.int64]]:  # -> each [1, L]
    """Return disjoint windows of the text's tokens, at most MAX_WINDOWS, spread over the whole text.

    Raises Problem for a text that cannot be read or is too short, and for an IR without its vocabulary.
    """
    with one_problem():
        raw = read_file(text)
        tokens = load_tokenizer(ir).encode(utf8_text(raw, text), template=True)
        length = min(WINDOW, read_model(ov.Core(), ir).input(0).partial_shape[-1].get_max_length())
    if len(tokens) < length:
        raise Problem(f"{text}: expected at least {length} tokens to calibrate with, got {len(tokens)}")
    count = min(MAX_WINDOWS, len(tokens) // length)
    starts = np.linspace(0, len(tokens) - length, count).astype(int)
    return [np.array([tokens[start : start + length]], np.int64) for start in starts]
