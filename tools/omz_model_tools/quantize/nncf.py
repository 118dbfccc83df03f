"""Compress the weights of a model by NNCF, around what its releases get wrong on GPT-2."""

import contextlib
import io
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.problem import Problem
from omz_model_tools.quantize.settings import EACH_CHANNEL, Int4Settings

MOST = 2.0**127

Compress: TypeAlias = Callable[[Any, Int4Settings | None, Sequence[Any] | None], Any]
"""(model, None for INT8, inputs to calibrate with) -> the model with compressed weights."""


def load_compress() -> Compress:
    """Import NNCF and return its compression; Problem if it is not installed."""
    os.environ.setdefault("NNCF_CI", "1")  # switches off NNCF's telemetry
    try:
        with ends_at_once(), _silence():
            import nncf  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Problem(f"{error.name}: is not installed; run: pip install 'omz-gpt2[quantize]'") from None
    nncf.set_log_level(logging.CRITICAL)
    return partial(_compress, nncf)


def _compress(nncf: Any, model: Any, int4: Int4Settings | None, inputs: Sequence[Any] | None) -> Any:
    _turn_weights(model)
    if int4 is not None and int4.awq:
        _mark_for_awq(model)
    with _silence():
        if int4 is None:
            compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        else:
            compressed = nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT4_ASYM,
                group_size=int4.group_size,
                ratio=int4.ratio,
                all_layers=int4.all_layers,
                dataset=None if inputs is None else nncf.Dataset(inputs),
                subset_size=len(inputs or [0]),
                awq=int4.awq or None,
                scale_estimation=int4.scale_estimation or None,
            )
    _remove_marks(compressed)
    _name_new_ops(compressed)
    return compressed


def check_group_size(source: Path, model: Any, int4: Int4Settings) -> None:
    """Raise Problem unless the group size divides the input width of every matrix that becomes INT4."""
    products = [op for op, _ in _products(model)]
    inner = products if int4.all_layers else products[:-1]  # the last one is the head
    widths = sorted({op.input_value(1).get_shape()[1 if op.get_attributes()["transpose_b"] else 0] for op in inner})
    group = int4.group_size
    if group != EACH_CHANNEL and any(width % group for width in widths):
        raise Problem(
            f"--group_size: expected a divisor of the widths of {source}, {', '.join(map(str, widths))}, "
            f"got {group}; -1 gives whole channels"
        )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep NNCF's tables, progress bars and warnings off our streams."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _products(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every MatMul by a weight matrix, and the Constant of that matrix."""
    for op in model.get_ordered_ops():
        if op.get_type_name() == "MatMul":
            weight = op.input_value(1).get_node()
            stored = weight.input_value(0).get_node() if weight.get_type_name() == "Convert" else weight
            if stored.get_type_name() == "Constant" and len(stored.get_output_shape(0)) == 2:
                yield op, stored


def _turn_weights(model: Any) -> None:
    """Store every matrix as [out, in]: NNCF's data-aware methods go wrong on the other layout (its issue 3494)."""
    from openvino import opset13 as ops  # noqa: PLC0415

    for op, stored in list(_products(model)):
        attributes = op.get_attributes()
        if not attributes["transpose_b"]:
            weight = op.input_value(1).get_node()
            turned = ops.constant(stored.data.T.copy(), name=stored.get_friendly_name())
            if stored is not weight:
                turned = ops.convert(turned, "f32", name=weight.get_friendly_name())
            product = ops.matmul(op.input_value(0), turned, attributes["transpose_a"], transpose_b=True)
            product.set_friendly_name(op.get_friendly_name())
            op.output(0).replace(product.output(0))


def _mark_for_awq(model: Any) -> None:
    """Put a Clamp without effect before every matrix: NNCF's AWQ only handles matrices after certain ops, not Gelu."""
    from openvino import opset13 as ops  # noqa: PLC0415

    for op, _ in list(_products(model)):
        mark = ops.clamp(op.input_value(0), -MOST, MOST, name=f"{op.get_friendly_name()}/input")
        op.input(0).replace_source_output(mark.output(0))
    model.validate_nodes_and_infer_types()


def _remove_marks(model: Any) -> None:
    for op in model.get_ordered_ops():
        if op.get_type_name() == "Clamp" and op.get_attributes()["max"] == MOST:
            op.output(0).replace(op.input_value(0))
    model.validate_nodes_and_infer_types()


def _name_new_ops(model: Any) -> None:
    """Number the ops without a name of their own by type and order: NNCF's names differ between runs."""
    seen: Counter[str] = Counter()
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", op.get_friendly_name()):
            op.set_friendly_name(f"{kind}_{seen[kind]}")
            seen[kind] += 1
