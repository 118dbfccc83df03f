"""Make IRs by openvino.convert_model, from the arguments of Model Optimizer that it has a counterpart for."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.problem import Problem, one_line, openvino_reason
from omz_model_tools.convert.onnx.route import MakeModel, ModelSpec
from omz_model_tools.convert.onnx.shapes import Bounds, parse_shapes

KNOWN = ("--input_model", "--input", "--input_shape", "--layout", "--output")


class ConvertModel:
    folder = Path()  # there is no $mo_dir

    def announce(self, spec: ModelSpec, precision: str) -> str:
        _check(spec)
        words = [argument for argument in spec.arguments if not argument.startswith("--input_model=")]
        how = "".join(f", {word}" for word in words)
        return f"Conversion by openvino.convert_model: {_file(spec)}{how} -> {spec.xml(precision)}"

    @contextmanager
    def start(self, spec: ModelSpec, say: Callable[[str], None]) -> Iterator[MakeModel]:
        _check(spec)
        once = cache(lambda: _convert(spec))
        yield lambda precision: once()


def _check(spec: ModelSpec) -> None:
    if spec.framework != "onnx":
        raise Problem(f"{spec.name}: expected a model of ONNX or PyTorch, got {spec.framework}; give --mo for it")
    for argument in spec.arguments:
        if argument.partition("=")[0] not in KNOWN or "=" not in argument:
            raise Problem(f"{spec.name}: expected only {', '.join(KNOWN)}, got {argument!r}; give --mo for it")
    _requested_shapes(spec)


def _file(spec: ModelSpec) -> Path:
    value = spec.value("--input_model")
    if value is None:
        raise Problem(f"{spec.name}: expected --input_model among the model_optimizer_args, got none")
    return Path(value)


def _convert(spec: ModelSpec) -> Any:
    with ends_at_once():
        import openvino  # noqa: PLC0415
    path = _file(spec)
    if not path.is_file():
        raise Problem(f"{path}: expected an ONNX file, got none")
    output = spec.value("--output")
    inputs = _inputs(openvino, spec)
    outputs = None if output is None else _tensors_of(path, output.split(","))
    try:
        with ends_at_once():  # it turns Ctrl-C into an exception of its own
            model = openvino.convert_model(path, input=inputs, output=outputs)
    except Exception as error:  # its classes of exceptions differ between releases
        raise Problem(_failure(path, error)) from error
    _lay_out(openvino, spec, model)
    return model


def _inputs(openvino: Any, spec: ModelSpec) -> list[Any] | None:
    given = spec.value("--input")
    names = [info.name for info in spec.inputs] if given is None else given.split(",")
    shapes = _shapes(openvino, spec)
    if not shapes:
        return list(names) or None
    if len(shapes) != len(names):
        raise Problem(f"--input_shape: expected a shape for each of {', '.join(names)}, got {len(shapes)}")
    return list(zip(names, shapes, strict=True))


def _shapes(openvino: Any, spec: ModelSpec) -> list[Any]:
    """Return the requested shapes, else those of the descriptor's input_info."""
    requested = _requested_shapes(spec)
    if requested is None:
        return [openvino.PartialShape(info.shape) for info in spec.inputs if info.shape is not None]
    return [openvino.PartialShape([openvino.Dimension(*bounds) for bounds in shape]) for shape in requested]


def _requested_shapes(spec: ModelSpec) -> list[list[Bounds]] | None:
    text = spec.value("--input_shape")
    try:
        return None if text is None else parse_shapes(text)
    except ValueError:
        raise Problem(f"--input_shape: expected shapes as [1,1024] or [?,1..1024], got {text!r}") from None


def _lay_out(openvino: Any, spec: ModelSpec, model: Any) -> None:
    """Set the layouts of the inputs, as Model Optimizer's --layout does."""
    for info in spec.inputs:
        if info.layout is not None:
            layout = info.layout if "[" in info.layout else f"[{','.join(info.layout)}]"
            model.input(info.name).get_node().set_layout(openvino.Layout(layout))


def _tensors_of(path: Path, names: list[str]) -> list[str]:
    """Return the tensors of these names, a node's name standing for its first output."""
    try:
        import onnx  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Problem(f"--output: {error.name} is not installed; run: pip install 'omz-gpt2[onnx]'") from None
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's own, for a file that is no ONNX model
        raise Problem(f"{path}: expected an ONNX file, got something else: {one_line(error)[:200]}") from None
    tensors = {name: name for node in graph.node for name in node.output}
    nodes = {node.name: node.output[0] for node in graph.node if node.name}
    unknown = [name for name in names if name not in tensors and name not in nodes]
    if unknown:
        outputs = ", ".join(output.name for output in graph.output)
        raise Problem(f"--output: {path} has no tensor and no node {unknown[0]!r}; its outputs are {outputs}")
    wanted = {tensors.get(name, nodes.get(name, name)) for name in names}
    return [name for name in tensors if name in wanted]  # in the model's spec, each once


def _failure(path: Path, error: Exception) -> str:
    external = re.search(r"externally stored data in file \(([^,)]+)", str(error))
    if external:
        return f"{path}: its weights in {path.with_name(external[1])} are missing or damaged; fetch that file again"
    if "Cannot recognize" in str(error):
        return f"{path}: expected an ONNX file, got something else; fetch it again"
    return f"{path}: openvino.convert_model: {openvino_reason(error)}"
