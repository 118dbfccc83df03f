"""FILE@HINT,KEY=VALUE: a model of gpt2_evaluate compare, with how its device computes."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from gpt2_text_prediction.engine import PRECISION_HINTS

NOT_HERE = {
    "INFERENCE_PRECISION_HINT": "expected it as HINT",
    "INFERENCE_NUM_THREADS": "expected it as -nthreads",
    "KV_CACHE_PRECISION": "has no effect here: windows are computed whole, without a cache",
    "CACHE_DIR": "has no use here",
}
"""Properties that are refused."""


class ModelSpec(NamedTuple):
    """FILE or FILE@HINT[,KEY=VALUE...] of the command line: an IR, its inference precision, OpenVINO's properties."""

    path: Path
    hint: str = "f32"
    properties: Mapping[str, str] = MappingProxyType({})

    @property
    def name(self) -> str:
        """Return it as on the command line."""
        words = [self.hint, *(f"{key}={value}" for key, value in self.properties.items())]
        return str(self.path) if words == ["f32"] else f"{self.path}@{','.join(words)}"


def model_spec(text: str) -> ModelSpec:
    """Return the model that an argument names; ArgumentTypeError for one that is none."""
    path, at, options = text.rpartition("@")
    hint, *pairs = options.split(",")
    if not at or (hint not in PRECISION_HINTS and not pairs) or os.path.exists(text):  # noqa: PTH110  # which raises nothing
        return ModelSpec(Path(text))
    if hint not in PRECISION_HINTS:
        hints = ", ".join(PRECISION_HINTS)
        raise argparse.ArgumentTypeError(f"expected FILE@HINT,KEY=VALUE with a HINT of {hints}, got {text!r}")
    properties: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if not (key and value) or key in properties:
            raise argparse.ArgumentTypeError(f"expected FILE@HINT,KEY=VALUE with each KEY once, got {text!r}")
        if key in NOT_HERE:
            raise argparse.ArgumentTypeError(f"{key}: {NOT_HERE[key]}, got {text!r}")
        properties[key] = value
    return ModelSpec(Path(path), hint, properties)
