"""Model Optimizer: how it is found and called, what it leaves when it fails or is stopped, and the real one.

The real one is that of the environment whose Python OMZ_TEST_MODEL_OPTIMIZER names: .ci/model_optimizer.sh makes one.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.convert.onnx.model_optimizer import find_model_optimizer
from support import HANGS_AFTER
from support.model_optimizer_python import model_optimizer_python
from support.onnx_tree import convert, mo_line, names, write_mo, write_onnx, write_tree

ADVICE = (
    "leave --python out, since the converter needs no Model Optimizer, or make an environment for it "
    "(Python 3.8-3.12): python3 -m venv DIR && DIR/bin/python -m pip install openvino-dev==2024.6.0"
)


def test_model_optimizer_makes_both_precisions(tmp_path, capsys):
    program, folder = write_mo(write_tree(tmp_path, model_info={"labels": ["a", "b"]})), tmp_path / "public/toy"
    code, out, err = convert(tmp_path, capsys, "--mo", program)
    assert (code, err) == (0, [])
    assert [line for line in out if line.startswith(("=", "C"))] == [
        "========== Converting toy to IR (FP16)",
        mo_line(tmp_path, program, fp16=True),
        "========== Converting toy to IR (FP32)",
        mo_line(tmp_path, program),
    ]
    assert out[2].startswith('arguments: ["--framework=onnx", ')
    assert out[3:4] == [""]
    assert names(folder) == ["FP16", "FP32", "model.yml", "toy.onnx", "vocab.json"]
    for precision, tenth in (("FP16", np.float16(0.1)), ("FP32", np.float32(0.1))):
        assert names(folder / precision) == ["toy.bin", "toy.xml", "vocab.json"]
        model = openvino.Core().read_model(folder / precision / "toy.xml")
        assert model.get_rt_info(["model_info", "labels"]).astype(str) == "a b"
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        assert compiled(np.zeros((1, 3), np.float32))["y"][0, 0] == np.float32(tenth)


@pytest.mark.parametrize(
    ("source", "said", "line"),
    [
        (
            b"damaged",
            "[ ERROR ]  cannot be read",
            "expected exit code 0, got 1; what it said is above; "
            "give --python, that of an environment with openvino-dev",
        ),
        (b"nothing", "arguments: ", "expected it to write {}/.omz_converter.scratch/toy.xml, got nothing there"),
    ],
)
def test_a_model_optimizer_that_fails_leaves_the_old_ir(tmp_path, capsys, source, said, line):
    program, folder = write_mo(write_tree(tmp_path)), tmp_path / "public/toy"
    assert convert(tmp_path, capsys, "--mo", program)[0] == 0
    before = {path: path.read_bytes() for path in (folder / "FP16").iterdir()}
    write_tree(tmp_path, source)
    code, out, err = convert(tmp_path, capsys, "--mo", program)
    assert (code, err) == (1, [f"########## Error: Model Optimizer: {line.format(folder)}"])
    assert out[-4].startswith(said)
    assert out[-3:] == ["", "FAILED:", "toy"]
    assert {path: path.read_bytes() for path in (folder / "FP16").iterdir()} == before
    assert names(folder) == ["FP16", "FP32", "model.yml", "toy.onnx", "vocab.json"]


@pytest.mark.parametrize(("sign", "jobs"), [(signal.SIGINT, 1), (signal.SIGKILL, 1), (signal.SIGINT, 2)])
def test_stopped_while_model_optimizer_is_at_work(tmp_path, capsys, sign, jobs):
    program, folder = write_mo(write_tree(tmp_path, b"wait")), tmp_path / "public/toy"
    script = "import sys; from pathlib import Path; from omz_model_tools.cli.converter import converter; "
    script += f"sys.exit(converter(sys.argv[1:], [Path({str(tmp_path)!r})]))"
    argv = [sys.executable, "-c", script, "--name=toy", "-d", str(tmp_path), "--mo", str(program), f"-j{jobs}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("arguments"):
            assert process.poll() is None
        (folder / ".omz_converter.scratch").mkdir()
        process.send_signal(sign)
        _, err = process.communicate(timeout=HANGS_AFTER)
    if sign == signal.SIGINT:
        assert (process.returncode, err) == (130, "Interrupted\n")
        if jobs == 1:
            assert names(folder) == ["model.yml", "toy.onnx", "vocab.json"]
    write_tree(tmp_path)
    assert convert(tmp_path, capsys, "--mo", program)[0] == 0
    assert names(folder) == ["FP16", "FP32", "model.yml", "toy.onnx", "vocab.json"]


class TestWhereModelOptimizerIs:
    """find_model_optimizer."""

    def find(self, python: Path | None = None, mo: Path | None = None, which: Any = lambda name: None) -> Any:
        return find_model_optimizer(python, mo, (), which)

    def refused(self, *arguments: Path | None) -> str:
        with pytest.raises(Problem) as caught:
            self.find(*arguments)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_a_script_of_python(self, tmp_path):
        found = self.find(None, write_mo(tmp_path))
        assert (found.program, found.folder) == ((sys.executable, "--", f"{tmp_path}/mo.py"), tmp_path)

    @pytest.mark.parametrize("python", ["bin/python", "bin/python3", "Scripts/python.exe"])
    def test_a_script_in_an_environment_runs_by_its_python(self, tmp_path, python):
        folder = tmp_path / "env/lib/python3.11/site-packages/openvino/tools/mo"
        folder.mkdir(parents=True)
        script = write_mo(folder)
        assert self.find(None, script).program[0] == sys.executable
        (tmp_path / "env" / python).parent.mkdir()
        (tmp_path / "env" / python).write_text("")
        found = self.find(None, script)
        assert (found.program, found.folder) == ((f"{tmp_path}/env/{python}", "--", str(script)), folder)
        assert found.advice == ""

    def test_a_program(self, tmp_path):
        program = tmp_path / "mo"
        program.write_text("")
        line = f"--mo: {program}: expected a program, got a file that cannot be run; give its --python too"
        if os.geteuid():
            assert self.refused(None, program) == line
        program.chmod(0o755)
        assert self.find(None, program).program == (str(program),)
        assert self.find(which=lambda name: str(program) if name == "mo" else None).program == (str(program),)

    def test_one_that_is_not_there(self, tmp_path):
        line = f"--mo: {tmp_path}/mo: expected Model Optimizer's program, mo or mo.py, got no such file"
        assert self.refused(None, tmp_path / "mo") == line
        assert self.refused(None, None) == f"Model Optimizer: there is no mo on the PATH; give --mo, {ADVICE}"

    def test_a_python_without_it(self, tmp_path):
        python = Path(sys.executable)
        line = f"--python: {python}: expected a Python with openvino-dev, got one without; {ADVICE}"
        assert self.refused(python, None) == line
        line = f"--python: {tmp_path}/python: cannot be run: No such file or directory"
        assert self.refused(tmp_path / "python", None) == line
        assert self.refused(tmp_path, None) == f"--python: {tmp_path}: cannot be run: Permission denied"

    def test_a_python_with_it_and_mo_beside_it(self, tmp_path):
        python = tmp_path / "bin/python"
        python.parent.mkdir()
        python.write_text("#!/bin/sh\necho a warning\necho /env/openvino/tools/mo\n")
        python.chmod(0o755)
        program = python.with_name("mo")
        program.write_text("")
        known = {str(program): str(program)}
        found = self.find(python, None, known.get)
        assert (found.program, found.folder) == ((str(python), "--", str(program)), Path("/env/openvino/tools/mo"))
        assert self.refused(python, None).startswith(
            f"Model Optimizer: there is no mo beside {python}, nor on the PATH"
        )


@pytest.mark.extras("onnx")
class TestTheRealOne:
    """Model Optimizer of openvino-dev, on a real ONNX file."""

    @pytest.fixture
    def python(self) -> Path:
        return model_optimizer_python()

    def tree(self, root: Path) -> Path:
        changed = {"input_info": [{"name": "x", "layout": "N?"}]}
        write_tree(root, **changed)
        return write_tree(root, write_onnx(root / "public/toy/toy.onnx"), **changed)

    def find(self, python: Path) -> Path:
        return find_model_optimizer(python, None).folder

    def test_it_is_found(self, python):
        found = find_model_optimizer(python, None)
        assert found.program == (str(python), "--", str(python.with_name("mo")))
        assert (found.folder / "mo.py").is_file()

    @pytest.mark.parametrize("by", ["python", "program", "script"])
    def test_both_precisions(self, python, tmp_path, capsys, by):
        where = {
            "python": lambda: ["--python", python],
            "program": lambda: ["--mo", python.with_name("mo")],
            "script": lambda: ["--mo", self.find(python) / "mo.py"],  # openvino/tools/mo/mo.py
        }
        code, out, err = convert(self.tree(tmp_path), capsys, *where[by](), "--input_shape=[1..7,3]")
        assert (code, err) == (0, [])
        assert sum(line.startswith("[ SUCCESS ] Generated IR") for line in out) == 2
        assert names(tmp_path / "public/toy") == ["FP16", "FP32", "model.yml", "toy.onnx", "vocab.json"]
        for precision, tenth in (("FP16", np.float16(0.1)), ("FP32", np.float32(0.1))):
            model = openvino.Core().read_model(tmp_path / "public/toy" / precision / "toy.xml")
            assert str(model.input("x").partial_shape) == "[1..7,3]"
            assert model.get_parameters()[0].layout == openvino.Layout("[N,?]")
            results = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
                np.zeros((2, 3), np.float32)
            )
            np.testing.assert_array_equal(results["a"][:, 0], [np.float32(tenth)] * 2)
            np.testing.assert_array_equal(results["b"], 2 * results["a"])

    def test_outputs_keep_the_order_of_the_file(self, python, tmp_path, capsys):
        convert(self.tree(tmp_path), capsys, "--python", python, "--precisions=FP32", "--output=2nd,first")
        model = openvino.Core().read_model(tmp_path / "public/toy/FP32/toy.xml")
        assert [port.get_any_name() for port in model.outputs] == ["a", "b"]

    @pytest.mark.parametrize("extra", ["--no_such_argument", "--input_shape=[1,3,3,3]"])
    def test_an_argument_that_it_refuses(self, python, tmp_path, capsys, extra):
        code, out, err = convert(self.tree(tmp_path), capsys, "--python", python, f"--add_mo_arg={extra}")
        assert code == 1
        assert err[0].startswith("########## Error: Model Optimizer: expected exit code 0, got ")
        assert len(err) == 1
        assert out[-1] == "toy"
        assert names(tmp_path / "public/toy") == ["model.yml", "toy.onnx", "vocab.json"]

    def test_a_file_that_is_cut(self, python, tmp_path, capsys):
        raw = write_onnx(tmp_path / "whole.onnx")
        write_tree(tmp_path, raw[: len(raw) // 2])
        code, _, err = convert(tmp_path, capsys, "--python", python)
        assert (code, len(err)) == (1, 1)
        assert names(tmp_path / "public/toy") == ["model.yml", "toy.onnx", "vocab.json"]
