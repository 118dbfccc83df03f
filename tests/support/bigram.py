"""The smallest IR that is a language model: a table, of whose rows each has the logits after one token."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from support.toy import save


def bigram(
    path: Path, logits: Any, ids: tuple[int | str, ...] = ("?", "?"), dtype: Any = np.float32, positions: int | None = 8
) -> Path:  # logits [V, V]
    """Write it; ids: the input's dimensions, "?" for a free one. Return its path."""
    dimensions = [ov.Dimension() if d == "?" else ov.Dimension(d) for d in ids]
    if positions is not None and dimensions[-1].is_dynamic:
        dimensions[-1] = ov.Dimension(1, positions)
    given = ops.parameter(ov.PartialShape(dimensions), np.int64, name="input")
    found = ops.gather(ops.constant(np.array(logits, dtype)), given, ops.constant(np.int64(0)))
    return save(ov.Model([ops.result(found)], [given], "bigram"), path)
