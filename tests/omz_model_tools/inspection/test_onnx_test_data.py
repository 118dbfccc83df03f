"""omz_model_checker: a model of known outputs against right, wrong and broken test data."""

import os
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from omz_model_tools.cli.model_checker import model_checker

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'omz-gpt2[onnx]'")

pytestmark = pytest.mark.extras("onnx")
X = np.array([[1.0, -2.0, 4.0]], np.float32)


@pytest.fixture
def ir(tmp_path: Path) -> Path:
    """sum: x + 1, double: 2 x, for x of any length."""
    x = ops.parameter(openvino.PartialShape([1, -1]), np.float32, name="x")
    outputs = {"sum": ops.add(x, np.float32(1)), "double": ops.multiply(x, np.float32(2))}
    for name, node in outputs.items():
        node.output(0).set_names({name})
    openvino.save_model(openvino.Model([ops.result(node) for node in outputs.values()], [x], "toy"), tmp_path / "m.xml")
    return tmp_path / "m.xml"


def write(folder: Path, **tensors: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in tensors.items():
        raw = onnx.numpy_helper.from_array(np.asarray(values)).SerializeToString()
        (folder / f"{name}.pb").write_bytes(raw)
    return folder


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = model_checker([str(argument) for argument in arguments])
    return (code, *capsys.readouterr())


SUMMARY = "outputs agree (rtol 0.001, atol 1e-05, on CPU in f32)\n"


def test_data_sets_that_agree_in_the_order_of_their_numbers(ir, tmp_path, capsys):
    for number in (10, 2):
        x = X * number
        write(tmp_path / f"data/test_data_set_{number}", input_0=x, output_0=x + 1, output_1=2 * x)
    write(tmp_path / "data/test_data_set_x", input_0=X)
    expected = "".join(
        f"test_data_set_{number}: {name} [1, 3]: OK, largest difference 0.00e+00\n"
        for number in (2, 10)
        for name in ("sum", "double")
    )
    assert check(capsys, "-m", ir, "--test_data", tmp_path / "data") == (0, expected + f"4 of 4 {SUMMARY}", "")


@pytest.mark.parametrize(
    ("off", "agrees"),
    [(0.9e-3, True), (1.1e-3, False), (-0.9e-3, True), (float("nan"), False), (float("inf"), False)],
)
def test_the_tolerance_is_relative_to_what_is_expected(ir, tmp_path, capsys, off, agrees):
    """The third value of `sum` is 5: it is off by that share of what is expected."""
    summed = X + 1
    summed[0, 2] = 5 / (1 + off) if abs(off) < 1 else off
    data = write(tmp_path / "one", input_0=X, output_0=summed, output_1=2 * X)
    code, out, err = check(capsys, "-m", ir, "--test_data", data)
    assert (code, err) == (0 if agrees else 1, "")
    assert ("OK" if agrees else "1 of 3 values are out of tolerance") in out.splitlines()[0]
    assert out.splitlines()[2] == f"{1 + agrees} of 2 {SUMMARY.strip()}"


def test_the_absolute_tolerance_where_nought_is_expected(ir, tmp_path, capsys):
    x = np.array([[-1.0, 0.9e-5 - 1, 2e-5 - 1]], np.float32)
    data = write(tmp_path / "one", input_0=x, output_0=np.zeros((1, 3), np.float32), output_1=2 * x)
    assert (
        "1 of 3 values are out of tolerance, largest difference 2.0" in check(capsys, "-m", ir, "--test_data", data)[1]
    )
    assert check(capsys, "-m", ir, "--test_data", data, "--atol", "3e-5")[0] == 0


def test_another_shape(ir, tmp_path, capsys):
    data = write(tmp_path / "one", input_0=X, output_0=X[:, :2] + 1, output_1=2 * X)
    code, out, _ = check(capsys, "-m", ir, "--test_data", data)
    assert (code, out.splitlines()[0]) == (1, "one: sum [1, 3]: expected the shape [1, 2]")


def refused(capsys, *arguments: object) -> str:
    code, out, err = check(capsys, *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    return err.strip()


def test_what_cannot_be_compared(ir, tmp_path, capsys):
    data = write(tmp_path / "one", input_0=X, output_0=X + 1)
    assert refused(capsys, "-m", ir, "--test_data", data) == f"{ir}: expected 1 outputs as {data} has, got 2"
    write(data, output_2=X)
    line = f"{data}/output_1.pb: expected a tensor of the test data, got no such file"
    assert refused(capsys, "-m", ir, "--test_data", data) == line
    write(data, output_1=X).joinpath("output_2.pb").unlink()
    write(data, input_0=np.zeros((2, 3), np.float32))
    assert refused(capsys, "-m", ir, "--test_data", data).startswith(f"{ir}: cannot run {data}: ")
    assert refused(capsys, "-m", tmp_path / "no.xml", "--test_data", data).startswith(f"{tmp_path}/no.xml: expected")
    ir.with_suffix(".bin").unlink()
    ir.write_text("<net/>")
    assert refused(capsys, "-m", ir, "--test_data", data).startswith(f"{ir}: OpenVINO cannot read or compile it")


@pytest.mark.parametrize("raw", [b"no tensor", b"\xff" * 100, b"\x08\x03\x10\x01"])
def test_a_tensor_that_is_none(ir, tmp_path, capsys, raw):
    data = write(tmp_path / "one", input_0=X, output_0=X, output_1=X)
    (data / "input_0.pb").write_bytes(raw)
    line = f"{data}/input_0.pb: expected a tensor (TensorProto), got something else"
    assert refused(capsys, "-m", ir, "--test_data", data).startswith(line)


def test_a_pipe_is_no_tensor(ir, tmp_path, capsys):
    data = write(tmp_path / "one", input_0=X, output_0=X, output_1=X)
    (data / "input_0.pb").unlink()
    os.mkfifo(data / "input_0.pb")
    assert (
        refused(capsys, "-m", ir, "--test_data", data) == f"{data}/input_0.pb: expected a file, got a pipe or a device"
    )


@pytest.mark.parametrize(("flag", "value"), [("--rtol", "-1"), ("--atol", "nan"), ("--atol", "inf")])
def test_a_tolerance_that_is_none(ir, tmp_path, capsys, flag, value):
    line = f"{flag}: expected a number from 0, got {float(value)}"
    assert refused(capsys, "-m", ir, "--test_data", tmp_path, f"{flag}={value}") == line


def test_a_folder_without_test_data(ir, tmp_path, capsys):
    line = f"{tmp_path}: expected folders test_data_set_0, ... or input_0.pb, got neither"
    assert refused(capsys, "-m", ir, "--test_data", tmp_path) == line
    line = f"{tmp_path}/no: No such file or directory"
    assert refused(capsys, "-m", ir, "--test_data", tmp_path / "no") == line


def test_without_onnx(ir, tmp_path, capsys, monkeypatch):
    data = write(tmp_path / "one", input_0=X, output_0=X, output_1=X)
    monkeypatch.setitem(sys.modules, "onnx.numpy_helper", None)
    line = f"{data}/input_0.pb: onnx is not installed; run: pip install 'omz-gpt2[onnx]'"
    assert refused(capsys, "-m", ir, "--test_data", data) == line
