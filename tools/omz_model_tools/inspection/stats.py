"""GFlops and MParams of an IR, counted in its graph at one shape; it knows neither descriptors nor model families.

Counted are the operations of MatMul, ScaledDotProductAttention, Convolution and GroupConvolution, a multiplication
and an addition as two. What works element by element (sums, norms, activations) is left out, a fraction of a per cent.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omz_model_tools.common.problem import Problem, openvino_reason
from omz_model_tools.convert.ir import read_ir

Shape = Sequence[int]

UNBOUNDED = -1
COMPRESSED = ("i8", "u8", "i4", "u4")


@dataclass(frozen=True)
class Stats:
    """What the graph of a model costs at these shapes of its inputs."""

    input_shapes: dict[str, Shape]  # by the name of the input
    flops: int
    counted: dict[str, int]  # how many operations of which type are in flops
    parameters: int


def stats_of(xml: Path, shapes: Sequence[Shape] | None = None) -> Stats:
    """Count; without shapes every input has the most it may have, and 1 where there is no bound.

    Raises Problem for an IR that cannot be read, and for shapes that its inputs cannot have.
    """
    model = read_ir(xml)
    own = [given.get_partial_shape() for given in model.inputs]
    parameters = sum(map(_size, parameters_of(model.get_ops())))
    if shapes is None:
        shapes = [_largest(shape) for shape in own]
    _check(shapes, own, xml)
    try:
        model.reshape(dict(enumerate(shapes)))
    except RuntimeError as error:
        raise Problem(f"{xml}: cannot have the shapes {list(shapes)}: {openvino_reason(error)}") from error
    counted = [op for op in model.get_ops() if op.get_type_name() in FLOPS]
    return Stats(
        input_shapes={given.any_name: list(shape) for given, shape in zip(model.inputs, shapes, strict=True)},
        flops=sum(FLOPS[op.get_type_name()](op) for op in counted),
        counted=dict(sorted(Counter(op.get_type_name() for op in counted).items())),
        parameters=parameters,
    )


def _largest(shape: Any) -> Shape:
    return [1 if size.get_max_length() == UNBOUNDED else size.get_max_length() for size in shape]


def _check(shapes: Sequence[Shape], own: Sequence[Any], xml: Path) -> None:
    if len(shapes) != len(own):
        raise Problem(f"--input_shape: expected {len(own)} shapes, for the inputs of {xml}, got {len(shapes)}")
    for shape, bounds in zip(shapes, own, strict=True):
        if len(shape) != len(bounds) or not all(map(_fits, shape, bounds)):
            raise Problem(f"--input_shape: expected a shape that fits {bounds} of {xml}, got {list(shape)}")


def _fits(size: int, bounds: Any) -> bool:
    most = bounds.get_max_length()
    return bool(bounds.get_min_length() <= size and (most == UNBOUNDED or size <= most))


def parameters_of(ops: Iterable[Any]) -> list[Any]:
    """The constants that are weights: of real numbers, or of few bits and scaled, and of more than one value.

    A constant that several operations share counts once. Boolean masks and shapes are no weights, nor are scales and
    zero points of compressed ones.
    """
    ops = list(ops)
    compressed, scaling = set(), set()
    for op in ops:
        if op.get_type_name() in ("Multiply", "Subtract") and _is_compressed(source := _source(op.input_value(0))):
            compressed.add(source.get_name())
            scaling.add(_source(op.input_value(1)).get_name())
    constants = [op for op in ops if op.get_type_name() == "Constant" and _size(op) > 1]
    weights = [op for op in constants if op.get_element_type().is_real() or op.get_name() in compressed]
    return [op for op in weights if op.get_name() not in scaling]


def _source(value: Any) -> Any:
    """What a value is decompressed from: behind conversions and the subtraction of zero points."""
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Subtract"):
        node = node.input_value(0).get_node()
    return node


def _is_compressed(node: Any) -> bool:
    return node.get_type_name() == "Constant" and node.get_element_type().get_type_name() in COMPRESSED


def _size(op: Any) -> int:
    return int(math.prod(op.get_output_shape(0)))


def _of_matmul(op: Any) -> int:  # [..., M, K] x [..., K, N] -> [..., M, N]
    inner = -2 if op.get_attributes()["transpose_a"] else -1
    return 2 * _size(op) * int(op.get_input_shape(0)[inner])


def _of_attention(op: Any) -> int:  # [..., L, E] x [..., S, E] -> [..., L, S], x [..., S, F] -> [..., L, F]
    query, values = op.get_input_shape(0), op.get_input_shape(2)
    scores = math.prod(query[:-1]) * values[-2]
    return 2 * int(scores * (query[-1] + values[-1]))


def _of_convolution(op: Any) -> int:  # [N, I, ...] x [O, I, ...] -> [N, O, ...]
    return 2 * _size(op) * int(math.prod(op.get_input_shape(1)[1:]))


def _of_group_convolution(op: Any) -> int:  # [N, G * I, ...] x [G, O, I, ...] -> [N, G * O, ...]
    return 2 * _size(op) * int(math.prod(op.get_input_shape(1)[2:]))


FLOPS = {
    "MatMul": _of_matmul,
    "ScaledDotProductAttention": _of_attention,
    "Convolution": _of_convolution,
    "GroupConvolution": _of_group_convolution,
}
