"""GFlops and MParams of an IR, counted in its graph for given input shapes.

Flops are those of MatMul, ScaledDotProductAttention, Convolution and GroupConvolution, a multiply-add counting as two.
Element-wise ops (sums, norms, activations) are left out: a fraction of a per cent.
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
    """The cost of a graph at these shapes of its inputs."""

    input_shapes: dict[str, Shape]  # by the name of the input
    flops: int
    counted: dict[str, int]  # number of ops in flops, by type
    parameters: int


def stats_of(xml: Path, shapes: Sequence[Shape] | None = None) -> Stats:
    """Count; without `shapes`, each dimension is its maximum, or 1 if it has none.

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
    """Return the constants that are weights: floating-point or compressed, and of more than one value.

    A constant shared by several ops counts once. Masks, shapes, and the scales and zero points of compressed weights do
    not count.
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
    """Return the node that a value is decompressed from, before conversions and the subtraction of zero points."""
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
