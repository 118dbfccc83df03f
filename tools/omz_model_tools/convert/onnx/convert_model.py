"""openvino.convert_model as the maker of IRs: told in Model Optimizer's words, as far as it has them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.problem import Problem, one_line, openvino_reason
from omz_model_tools.convert.onnx.route import MakeModel, Order
from omz_model_tools.convert.onnx.shapes import Bounds, parse_shapes

KNOWN = ("--input_model", "--input", "--input_shape", "--layout", "--output")


class ConvertModel:
    folder = Path()  # it has no $mo_dir

    def announce(self, order: Order, precision: str) -> str:
        _check(order)
        words = [argument for argument in order.arguments if not argument.startswith("--input_model=")]
        how = "".join(f", {word}" for word in words)
        return f"Conversion by openvino.convert_model: {_file(order)}{how} -> {order.xml(precision)}"

    @contextmanager
    def start(self, order: Order) -> Iterator[MakeModel]:
        _check(order)
        once = cache(lambda: _convert(order))
        yield lambda precision: once()


def _check(order: Order) -> None:
    if order.framework != "onnx":
        raise Problem(f"{order.name}: expected a model of ONNX or PyTorch, got {order.framework}; give --mo for it")
    for argument in order.arguments:
        if argument.partition("=")[0] not in KNOWN or "=" not in argument:
            raise Problem(f"{order.name}: expected only {', '.join(KNOWN)}, got {argument!r}; give --mo for it")
    _shapes_asked_for(order)


def _file(order: Order) -> Path:
    value = order.value("--input_model")
    if value is None:
        raise Problem(f"{order.name}: expected --input_model among the model_optimizer_args, got none")
    return Path(value)


def _convert(order: Order) -> Any:
    with ends_at_once():
        import openvino  # noqa: PLC0415
    path = _file(order)
    if not path.is_file():
        raise Problem(f"{path}: expected an ONNX file, got none")
    output = order.value("--output")
    inputs = _inputs(openvino, order)
    outputs = None if output is None else _tensors_of(path, output.split(","))
    try:
        with ends_at_once():  # it makes an exception of its own of Ctrl-C
            model = openvino.convert_model(path, input=inputs, output=outputs)
    except Exception as error:  # its own kinds of exceptions differ from release to release
        raise Problem(_failure(path, error)) from error
    _lay_out(openvino, order, model)
    return model


def _inputs(openvino: Any, order: Order) -> list[Any] | None:
    given = order.value("--input")
    names = [info.name for info in order.inputs] if given is None else given.split(",")
    shapes = _shapes(openvino, order)
    if not shapes:
        return list(names) or None
    if len(shapes) != len(names):
        raise Problem(f"--input_shape: expected a shape for each of {', '.join(names)}, got {len(shapes)}")
    return list(zip(names, shapes, strict=True))


def _shapes(openvino: Any, order: Order) -> list[Any]:
    """The shapes asked for, else those of the descriptor's input_info, if all have one."""
    asked_for = _shapes_asked_for(order)
    if asked_for is None:
        return [openvino.PartialShape(info.shape) for info in order.inputs if info.shape is not None]
    return [openvino.PartialShape([openvino.Dimension(*bounds) for bounds in shape]) for shape in asked_for]


def _shapes_asked_for(order: Order) -> list[list[Bounds]] | None:
    text = order.value("--input_shape")
    try:
        return None if text is None else parse_shapes(text)
    except ValueError:
        raise Problem(f"--input_shape: expected shapes as [1,1024] or [?,1..1024], got {text!r}") from None


def _lay_out(openvino: Any, order: Order, model: Any) -> None:
    """Write the layouts that Model Optimizer would be given."""
    for info in order.inputs:
        if info.layout is not None:
            layout = info.layout if "[" in info.layout else f"[{','.join(info.layout)}]"
            model.input(info.name).get_node().set_layout(openvino.Layout(layout))


def _tensors_of(path: Path, names: list[str]) -> list[str]:
    """The tensors of these names, or that come out of the nodes of these names."""
    try:
        import onnx  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Problem(f"--output: {error.name} is not installed; run: pip install 'omz-gpt2[onnx]'") from None
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's, of a file that is something else
        raise Problem(f"{path}: expected an ONNX file, got something else: {one_line(error)[:200]}") from None
    tensors = {name: name for node in graph.node for name in node.output}
    nodes = {node.name: node.output[0] for node in graph.node if node.name}
    unknown = [name for name in names if name not in tensors and name not in nodes]
    if unknown:
        outputs = ", ".join(output.name for output in graph.output)
        raise Problem(f"--output: {path} has no tensor and no node {unknown[0]!r}; its outputs are {outputs}")
    wanted = {tensors.get(name, nodes.get(name, name)) for name in names}
    return [name for name in tensors if name in wanted]  # in the model's order, each once


def _failure(path: Path, error: Exception) -> str:
    external = re.search(r"externally stored data in file \(([^,)]+)", str(error))
    if external:
        return f"{path}: its weights in {path.with_name(external[1])} are missing or damaged; fetch that file again"
    if "Cannot recognize" in str(error):
        return f"{path}: expected an ONNX file, got something else; fetch it again"
    return f"{path}: openvino.convert_model: {openvino_reason(error)}"
