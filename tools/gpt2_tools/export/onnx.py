"""The folder layout of the ONNX Model Zoo's GPT-2: model.onnx and test_data_set_0.

The test data is computed by OpenVINO from the IR, so that it is an independent check of the ONNX file.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from gpt2_recipe import ACTIVATIONS
from gpt2_tools.common.problem import Problem
from gpt2_tools.export.onnx_graph import OPSET, Graph, build_graph, weight_names
from gpt2_tools.export.recipe_ir import RecipeIR, weight_bytes, weights
from omz_model_tools.common import ends_at_once

Tensors = list[npt.NDArray[Any]]

SAMPLE = "Here is some text to encode Hello World"
"""The text of the zoo's test data."""
IR_VERSION = 6  # the zoo's
MAX_BYTES = 2**31 - 2**24
"""Protobuf's limit is 2 GB; larger weights go to a file beside the model."""


def write_folder(
    onnx: Any, ir: RecipeIR, folder: Path, *, lm_head: bool, with_past: bool, max_bytes: int = MAX_BYTES
) -> None:
    """Write the export into an empty folder; onnx: the package, from load_onnx.

    Raises Problem for a quantized IR, and for an activation that the zoo's GPT-2 does not have.
    """
    if ir.quantized:
        raise Problem(f"{ir.path}: is quantized, and ONNX is written in f32; give the IR it was quantized from")
    if ir.config.activation_function not in ACTIVATIONS:
        raise Problem(
            f"{ir.path}: its activation is {ir.config.activation_function}, and ONNX is written with a GELU alone; "
            "leave --format onnx out"
        )
    graph = build_graph(ir.config, lm_head=lm_head, with_past=with_past)
    _write_model(onnx, graph, ir, folder / "model.onnx", max_bytes)
    onnx.checker.check_model(folder / "model.onnx")
    inputs, outputs = sample_data(ir, lm_head=lm_head, with_past=with_past)
    data = folder / "test_data_set_0"
    data.mkdir()
    for kind, arrays in (("input", inputs), ("output", outputs)):
        for i, array in enumerate(arrays):
            tensor = onnx.numpy_helper.from_array(array, f"{kind}{i + 1}")
            (data / f"{kind}_{i}.pb").write_bytes(tensor.SerializeToString())


def sample_data(ir: RecipeIR, *, lm_head: bool, with_past: bool) -> tuple[Tensors, Tensors]:
    """Return inputs and outputs of the zoo's interface; with_past: the first half of the sample is the past."""
    tokens = ir.tokenizer.encode(SAMPLE)[: ir.config.n_positions]
    logits, hidden, *pairs = _run(ir.model, tokens)
    presents = [np.stack(pairs[i : i + 2]) for i in range(0, len(pairs), 2)]  # [2, 1, H, L, D]
    past = len(tokens) // 2 if with_past else 0
    ids = np.array([[tokens[past:]]], np.int64)
    pasts = [present[:, :, :, :past].copy() for present in presents] if with_past else []
    scores = (logits if lm_head else hidden)[None, :, past:]  # [1, 1, L, V or C]
    return [ids, *pasts], [np.ascontiguousarray(scores), *presents]


def _run(model: ov.Model, tokens: list[int]) -> Tensors:
    """Return logits [1, L, V], the last hidden states [1, L, C], and keys and values [1, H, L, D] of each block."""
    logits = model.get_results()[0].input_value(0)
    inner = [logits, logits.get_node().input_value(0)]
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            inner += [op.input_value(1), op.input_value(2)]
    probed = ov.Model([ops.result(value) for value in inner], model.get_parameters(), "probed")
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    outputs = ov.Core().compile_model(probed, "CPU", exact)([np.array([tokens], np.int64)])
    return [outputs[i].copy() for i in range(len(inner))]


def load_onnx() -> Any:
    """Import the package onnx. Raises Problem if it is not installed."""
    try:
        with ends_at_once():
            import onnx  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Problem(f"{error.name}: is not installed; run: pip install 'omz-gpt2[onnx]'") from None
    return onnx


def _write_model(onnx: Any, graph: Graph, ir: RecipeIR, path: Path, max_bytes: int) -> None:
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node(n.kind, n.inputs, n.outputs, name=n.name, **n.attributes) for n in graph.nodes]
    inputs = [
        helper.make_tensor_value_info(name, types.INT64 if name == "input1" else types.FLOAT, shape)
        for name, shape in graph.inputs.items()
    ]
    outputs = [helper.make_tensor_value_info(name, types.FLOAT, shape) for name, shape in graph.outputs.items()]
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()]
    stored = _weight_tensors(onnx, graph, ir, path, max_bytes)
    proto = helper.make_graph(nodes, "gpt2", inputs, outputs, constants + stored)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(proto, opset_imports=[opset], ir_version=IR_VERSION, producer_name="omz-gpt2")
    path.write_bytes(model.SerializeToString())


def _weight_tensors(onnx: Any, graph: Graph, ir: RecipeIR, path: Path, max_bytes: int) -> list[Any]:
    names = set(weight_names(graph))
    if weight_bytes(ir) <= max_bytes:
        return [onnx.numpy_helper.from_array(values, name) for name, values in weights(ir) if name in names]
    tensors = []
    with (path.parent / f"{path.name}.data").open("wb") as data:
        for name, values in weights(ir):
            if name in names:
                tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=values.shape)
                tensor.data_location = onnx.TensorProto.EXTERNAL
                location = {"location": f"{path.name}.data", "offset": data.tell(), "length": values.nbytes}
                tensor.external_data.extend(
                    onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in location.items()
                )
                data.write(values.tobytes())
                tensors.append(tensor)
    return tensors
