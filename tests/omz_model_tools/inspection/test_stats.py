"""Flops and parameters of graphs small enough to count by hand, and of gpt-2-mini by its configuration."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

from omz_model_tools.common.problem import Problem
from omz_model_tools.inspection.stats import Stats, stats_of


def save(folder: Path, outputs: list[ov.Node], inputs: list[ov.Node]) -> Path:
    ov.save_model(ov.Model(outputs, inputs, "toy"), folder / "toy.xml", compress_to_fp16=False)
    return folder / "toy.xml"


def parameter(*shape: int | tuple[int, int], name: str = "x") -> ov.Node:
    node = op.parameter(ov.PartialShape([size if isinstance(size, int) else ov.Dimension(*size) for size in shape]))
    node.output(0).tensor.names = {name}
    return node


def weights(*shape: int, kind: type = np.float32) -> ov.Node:
    return op.constant(np.arange(np.prod(shape)).reshape(shape).astype(kind))


def counted(folder: Path, output: ov.Node, *inputs: ov.Node) -> tuple[int, dict[str, int], int]:
    stats = stats_of(save(folder, [output], list(inputs)))
    return stats.flops, stats.counted, stats.parameters


def test_a_matrix_product_is_twice_its_three_lengths(tmp_path: Path) -> None:
    x = parameter(2, 5, 3)
    product = op.matmul(x, weights(3, 7), transpose_a=False, transpose_b=False)
    assert counted(tmp_path, product, x) == (2 * 2 * 5 * 3 * 7, {"MatMul": 1}, 21)


@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
def test_however_the_matrices_lie(tmp_path: Path, transpose_a: bool, transpose_b: bool) -> None:
    x = parameter(*((3, 5) if transpose_a else (5, 3)))
    product = op.matmul(x, weights(*((7, 3) if transpose_b else (3, 7))), transpose_a, transpose_b)
    assert counted(tmp_path, product, x)[0] == 2 * 5 * 3 * 7


def test_attention_is_two_products_whether_or_not_half_of_it_is_masked(tmp_path: Path) -> None:
    queries, keys, values = (
        parameter(1, 2, 4, 8, name="q"),
        parameter(1, 2, 6, 8, name="k"),
        parameter(1, 2, 6, 3, name="v"),
    )
    attention = op.scaled_dot_product_attention(queries, keys, values, causal=True)
    flops = 2 * (2 * 4 * 6 * 8) + 2 * (2 * 4 * 6 * 3)
    assert counted(tmp_path, attention, queries, keys, values) == (flops, {"ScaledDotProductAttention": 1}, 0)


def test_convolutions(tmp_path: Path) -> None:
    x = parameter(1, 4, 8, 8)
    plain = op.convolution(x, weights(6, 4, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])  # 6 x 8 x 8 of 4 x 3 x 3 each
    grouped = op.group_convolution(plain, weights(2, 5, 3, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1])  # 10 x 8 x 8 of 3
    flops = 2 * 6 * 8 * 8 * 4 * 3 * 3 + 2 * 10 * 8 * 8 * 3
    parameters = 6 * 4 * 3 * 3 + 2 * 5 * 3
    assert counted(tmp_path, grouped, x) == (flops, {"Convolution": 1, "GroupConvolution": 1}, parameters)


def test_what_works_element_by_element_is_not_counted_and_its_weights_are(tmp_path: Path) -> None:
    x = parameter(5, 3)
    scaled = op.gelu(op.add(op.multiply(x, weights(3)), op.constant(np.float32(0.5))), "tanh")
    assert counted(tmp_path, op.softmax(scaled, 1), x) == (0, {}, 3)


def test_weights_that_two_operations_share_count_once(tmp_path: Path) -> None:
    x, shared = parameter(5, 3), weights(3, 3)
    twice = op.matmul(op.matmul(x, shared, False, False), shared, False, True)
    assert counted(tmp_path, twice, x) == (2 * (2 * 5 * 3 * 3), {"MatMul": 2}, 9)


def test_masks_and_shapes_are_no_weights(tmp_path: Path) -> None:
    x = parameter(4, 4)
    masked = op.select(op.constant(np.tri(4, dtype=bool)), x, op.constant(np.float32(-1e4)))
    numbers = op.multiply(op.convert(op.constant(np.tri(4, dtype=bool)), "f32"), x)
    flat = op.reshape(op.add(masked, numbers), op.constant(np.array([2, 8])), False)
    assert counted(tmp_path, flat, x) == (0, {}, 0)


def test_compressed_weights_count_and_what_restores_them_does_not(tmp_path: Path) -> None:
    x = parameter(5, 4)
    ints = op.convert(weights(4, 7, kind=np.uint8), "f32")
    zero_points = op.convert(weights(4, 1, kind=np.uint8), "f32")
    restored = op.multiply(op.subtract(ints, zero_points), weights(4, 1))
    assert counted(tmp_path, op.matmul(x, restored, False, False), x) == (2 * 5 * 4 * 7, {"MatMul": 1}, 28)


def test_an_input_has_the_most_it_may_have_and_else_one(tmp_path: Path) -> None:
    x = parameter(-1, (1, 6), 3)
    xml = save(tmp_path, [op.matmul(x, weights(3, 7), False, False)], [x])
    assert stats_of(xml) == Stats({"x": [1, 6, 3]}, 2 * 6 * 3 * 7, {"MatMul": 1}, 21)
    assert stats_of(xml, [[2, 4, 3]]) == Stats({"x": [2, 4, 3]}, 2 * 2 * 4 * 3 * 7, {"MatMul": 1}, 21)


@pytest.mark.parametrize("shapes", [[[1, 7, 3]], [[1, 6]], [[1, 6, 4]], [[1, 0, 3]]])
def test_a_shape_that_the_input_cannot_have(tmp_path: Path, shapes: list[list[int]]) -> None:
    x = parameter(-1, (1, 6), 3)
    xml = save(tmp_path, [op.matmul(x, weights(3, 7), False, False)], [x])
    with pytest.raises(Problem) as caught:
        stats_of(xml, shapes)
    assert str(caught.value) == f"--input_shape: expected a shape that fits [?,1..6,3] of {xml}, got {shapes[0]}"


def test_a_shape_for_an_input_that_there_is_not(tmp_path: Path) -> None:
    x = parameter(2)
    xml = save(tmp_path, [op.relu(x)], [x])
    with pytest.raises(Problem) as caught:
        stats_of(xml, [[2], [2]])
    assert str(caught.value) == f"--input_shape: expected 1 shapes, for the inputs of {xml}, got 2"


def test_a_shape_that_the_graph_cannot_have(tmp_path: Path) -> None:
    x = parameter(-1)
    xml = save(tmp_path, [op.add(x, weights(5))], [x])
    with pytest.raises(Problem, match=r"toy\.xml: cannot have the shapes \[\[4\]\]: ") as caught:
        stats_of(xml, [[4]])
    assert "\n" not in str(caught.value)


def test_an_ir_that_is_none(tmp_path: Path) -> None:
    x = parameter(2)
    xml = save(tmp_path, [op.relu(x)], [x])
    xml.write_text("<net/>")
    with pytest.raises(Problem, match=r"toy\.xml: OpenVINO cannot read it: .*; convert the model again\Z"):
        stats_of(xml)


@pytest.mark.parametrize("precision", ["FP16", "FP32"])
def test_gpt_2_mini_by_its_configuration(mini: Path, precision: str) -> None:
    """5 blocks, 256 wide, 8192 tokens, 512 positions; per block 12 C^2 products a token, and L x L x C twice."""
    blocks, width, vocabulary, length = 5, 256, 8192, 512
    products = 2 * length * (12 * blocks * width**2 + vocabulary * width) + 4 * blocks * length**2 * width
    parameters = blocks * (12 * width**2 + 13 * width) + (vocabulary + length) * width + 2 * width
    stats = stats_of(mini / precision / "gpt-2-mini.xml")
    counted = {"MatMul": 4 * blocks + 1, "ScaledDotProductAttention": blocks}
    assert stats == Stats({"input": [1, length]}, products, counted, parameters)
