"""A recipe in the sense of omz_model_tools.recipes, small enough to check by hand: y = x + weights.bin."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as op


class Problem(Exception):
    """What the user can mend."""


@dataclass(frozen=True)
class Conversion:
    model: openvino.Model
    companions: list[Path]
    facts: dict[str, dict[str, str | int]]
    notes: tuple[str, ...] = ()


def convert(folder: Path, checksums: Mapping[str, str]) -> Conversion:
    """The weights are float32 numbers, as they lie in the file."""
    raw = (folder / "weights.bin").read_bytes()
    if len(raw) % 4:
        raise Problem(f"{folder / 'weights.bin'}: expected\nwhole numbers, got {len(raw)} bytes")
    weights = np.frombuffer(raw, np.float32)
    x = op.parameter([weights.size], np.float32, name="x")
    # Names of our own: OpenVINO's would count up from conversion to conversion.
    total = op.add(x, op.constant(weights, name="weights"), name="sum")
    result = op.result(total, name="y")
    facts: dict[str, dict[str, str | int]] = {"toy": {"count": int(weights.size), **checksums}}
    return Conversion(openvino.Model([result], [x], "toy"), [folder / "vocab.json"], facts)
