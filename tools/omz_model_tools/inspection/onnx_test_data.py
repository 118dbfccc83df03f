"""Compare a model with the ONNX Model Zoo's test data: test_data_set_N/{input,output}_M.pb.

The model, an IR or an ONNX file, runs on the CPU in f32; its inputs and outputs are matched by their order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.problem import Problem, disk_problems, one_line, openvino_reason, read_file

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Array = numpy.typing.NDArray[Any]

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
TENSOR = re.compile(r"(input|output)_(\d+)\.pb")


@dataclass(frozen=True)
class Tolerance:
    """The allowed difference of a value from the expected one: atol + rtol * |expected|, as numpy.isclose."""

    rtol: float
    atol: float

    def __post_init__(self) -> None:
        for flag, value in (("--rtol", self.rtol), ("--atol", self.atol)):
            if not 0 <= value < float("inf"):
                raise Problem(f"{flag}: expected a number from 0, got {value}")


@dataclass(frozen=True)
class Comparison:
    """One output of one data set."""

    data_set: str
    output: str
    expected: tuple[int, ...]  # shape
    got: tuple[int, ...]
    values: int
    outside: int  # number of values out of tolerance
    largest: float  # difference; NaN if a value is NaN

    @property
    def agrees(self) -> bool:
        return self.expected == self.got and self.outside == 0

    def text(self) -> str:
        where = f"{self.data_set}: {self.output} {list(self.got)}"
        if self.expected != self.got:
            return f"{where}: expected the shape {list(self.expected)}"
        largest = f"largest difference {self.largest:.2e}"
        if self.outside:
            return f"{where}: {self.outside} of {self.values} values are out of tolerance, {largest}"
        return f"{where}: OK, {largest}"


def data_sets_in(folder: Path) -> list[Path]:
    """Return the folders test_data_set_* in this one, by number; or this one, if it is a data set itself."""
    with disk_problems(folder):
        names = {path.name: path for path in folder.iterdir()}
    if "input_0.pb" in names:
        return [folder]
    found = {int(name[14:]): path for name, path in names.items() if re.fullmatch(r"test_data_set_\d+", name)}
    if not found:
        raise Problem(f"{folder}: expected folders test_data_set_0, ... or input_0.pb, got neither")
    return [found[number] for number in sorted(found)]


def compare(model: Path, data_sets: list[Path], tolerance: Tolerance) -> Iterator[Comparison]:
    """Run the model on each data set, and yield the comparison of each output."""
    data = {folder: (_tensors(folder, "input"), _tensors(folder, "output")) for folder in data_sets}
    compiled = _compiled(model)
    for folder, (inputs, outputs) in data.items():
        for kind, expected, ports in (("input", inputs, compiled.inputs), ("output", outputs, compiled.outputs)):
            if len(expected) != len(ports):
                raise Problem(f"{model}: expected {len(expected)} {kind}s as {folder} has, got {len(ports)}")
        for port, reference, got in zip(compiled.outputs, outputs, _run(model, compiled, folder, inputs), strict=True):
            yield _comparison(folder.name, _name(port), reference, got, tolerance)


def _run(model: Path, compiled: Any, folder: Path, inputs: list["Array"]) -> list["Array"]:
    try:
        results = compiled(inputs)
    except RuntimeError as error:
        raise Problem(f"{model}: cannot run {folder}: {openvino_reason(error)}") from error
    return [results[port] for port in compiled.outputs]


def _comparison(data_set: str, name: str, expected: "Array", got: "Array", tolerance: Tolerance) -> Comparison:
    import numpy as np  # noqa: PLC0415

    outside, largest = 0, 0.0
    if expected.shape == got.shape and expected.size:
        wide, other = got.astype(np.float64), expected.astype(np.float64)
        outside = int((~np.isclose(wide, other, rtol=tolerance.rtol, atol=tolerance.atol)).sum())
        with np.errstate(invalid="ignore"):
            largest = float(np.abs(wide - other).max())
    return Comparison(data_set, name, expected.shape, got.shape, expected.size, outside, largest)


def _tensors(folder: Path, kind: str) -> list["Array"]:
    """Read input_0.pb, input_1.pb, ... or output_0.pb, ...; Problem if a number is missing between them."""
    with disk_problems(folder):
        matches = [TENSOR.fullmatch(path.name) for path in folder.iterdir()]
    numbers = sorted(int(match[2]) for match in matches if match is not None and match[1] == kind)
    for count, number in enumerate(numbers or [-1]):
        if count != number:
            raise Problem(f"{folder / f'{kind}_{count}.pb'}: expected a tensor of the test data, got no such file")
    return [_tensor(folder / f"{kind}_{number}.pb") for number in numbers]


def _tensor(path: Path) -> "Array":
    try:
        import onnx.numpy_helper  # noqa: PLC0415
    except ModuleNotFoundError:
        raise Problem(f"{path}: onnx is not installed; run: pip install 'omz-gpt2[onnx]'") from None
    raw = read_file(path)
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(raw)
        array: Array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # protobuf's or numpy's own, for a file that is no tensor
        raise Problem(f"{path}: expected a tensor (TensorProto), got something else: {one_line(error)[:200]}") from None
    return array


def _compiled(model: Path) -> Any:
    with ends_at_once():
        import openvino  # noqa: PLC0415
    if not model.is_file():
        raise Problem(f"{model}: expected an IR (.xml) or an ONNX file, got no such file")
    try:
        return openvino.Core().compile_model(model, "CPU", EXACT)
    except RuntimeError as error:
        raise Problem(f"{model}: OpenVINO cannot read or compile it: {openvino_reason(error)}") from error


def _name(port: Any) -> str:
    return min(port.get_names(), default="an output without a name")
