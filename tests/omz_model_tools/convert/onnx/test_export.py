"""ONNX export: arguments that are never run as code, modules that fail, files that appear whole or not at all."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.convert.onnx import export as to_onnx
from support import HANGS_AFTER

MODULE = """
    import torch

    class Problem(Exception):
        pass

    class Line(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor([float(factor)]))

        def forward(self, x):
            return x * self.factor + 1

    def refuse(why):
        raise Problem("a line\\nof " + why)

    def fail():
        raise ZeroDivisionError("no\\nway")

    class Branch(Line):
        def forward(self, x):
            raise RuntimeError("cannot be traced")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lines.py").write_text(textwrap.dedent(MODULE))
    return tmp_path


def export(folder: Path, *changed: str, limit: int = 0, more: Sequence[str] = ()) -> tuple[int, list[str], list[str]]:
    """The script in a process, its arguments being a whole set but for what is changed."""
    arguments = {
        "--model-path": str(folder),
        "--import-module": "lines",
        "--model-name": "Line",
        "--model-param": "factor=3",
        "--input-shapes": "[2,3]",
        "--input-names": "x",
        "--output-names": "y",
        "--output-file": str(folder / "out/line.onnx"),
        "--conversion-param": 'dynamic_axes={"x": {0: "rows"}}',
    }
    arguments |= dict(argument.split("=", 1) for argument in changed)
    script = "import sys; from omz_model_tools.convert.onnx.export import main; sys.exit(main())"
    if limit:
        script = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); {script}"
    argv = [*(f"{name}={value}" for name, value in arguments.items() if value), *more]
    done = subprocess.run(
        [sys.executable, "-c", script, *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def refused(folder: Path, *changed: str, **options: int) -> str:
    """The last line of a run that fails and leaves nothing."""
    code, out, err = export(folder, *changed, **options)
    assert (code, out) == (1, [])
    assert not list(folder.glob("out/*")) + list(folder.glob("out/.*"))
    return err[-1]


LITERALS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(LITERALS, lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text(), inner)))
def test_a_literal_is_its_value(value):
    assert to_onnx._pair(f"name={value!r}") == ("name", value)


@pytest.mark.parametrize(
    "value", ["__import__('os').abort()", "().__class__", "1+x", "[1 for x in y]", "f'{1}'", "/a/b", "r'a", "(" * 9999]
)
def test_what_is_no_literal_is_plain_text(value):
    assert to_onnx._pair(f"name={value}") == ("name", value)


def test_open_model_zoos_spelling_of_a_string():
    assert to_onnx._pair('model_dir=r"/a b/gpt2"') == ("model_dir", "/a b/gpt2")


def test_open_model_zoos_spellings_of_shapes():
    assert to_onnx._shapes("1,3,224,224") == [[1, 3, 224, 224]]
    assert to_onnx._shapes("[1,3],[1]") == [[1, 3], [1]]


@pytest.mark.parametrize(
    ("flag", "value", "complaint"),
    [
        ("--input-shapes", "[1,x]", "expected shapes such as [1,1024],[1,10], got '[1,x]'"),
        ("--input-shapes", "[-1]", "expected shapes such as [1,1024],[1,10], got '[-1]'"),
        ("--input-shapes", "1,[2]", "expected shapes such as [1,1024],[1,10], got '1,[2]'"),
        ("--model-param", "noequals", "expected NAME=VALUE, got 'noequals'"),
        ("--model-param", "a b=1", "expected NAME=VALUE, got 'a b=1'"),
    ],
)
def test_what_argparse_refuses(flag, value, complaint, capsys):
    with pytest.raises(SystemExit, match=r"\A2\Z"):
        to_onnx.main([f"{flag}={value}"])
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"argument {flag}: {complaint}")


@pytest.mark.extras("torch")
@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_a_library_that_is_not_installed(monkeypatch, capsys, tmp_path, name):
    monkeypatch.setitem(sys.modules, name, None)
    names = ("--model-name", "--import-module", "--input-names", "--output-names")
    target = f"--output-file={tmp_path / 'x.onnx'}"
    assert to_onnx.main([*(f"{flag}=x" for flag in names), "--input-shapes=[1]", target]) == 1
    line = f"conversion to ONNX: {name} is not installed; run: pip install 'omz-gpt2[onnx]'\n"
    assert capsys.readouterr() == ("", line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.extras("torch", "onnx")
class TestWithLibraries:
    """What needs PyTorch and onnx."""

    @pytest.fixture(autouse=True)
    def _libraries(self):
        import onnx  # noqa: PLC0415

        self.onnx = onnx

    def test_an_export(self, folder):
        import openvino  # noqa: PLC0415

        (folder / "out/.line.onnx.new").mkdir(parents=True)
        (folder / "out/.line.onnx.new/half").write_text("of a killed run's")
        assert export(folder) == (0, [], [])
        assert [path.name for path in (folder / "out").iterdir()] == ["line.onnx"]
        model = self.onnx.load(folder / "out/line.onnx")
        assert (model.graph.input[0].name, model.graph.output[0].name) == ("x", "y")
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"
        assert model.opset_import[0].version == 11
        x = np.arange(12, dtype=np.float32).reshape(4, 3)
        compiled = openvino.Core().compile_model(folder / "out/line.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        np.testing.assert_array_equal(compiled(x)[0], 3 * x + 1)

    def test_a_state_dict_is_loaded_and_one_with_code_is_not(self, folder):
        import torch  # noqa: PLC0415

        torch.save({"factor": torch.tensor([5.0])}, folder / "w.pt")
        assert export(folder, f"--weights={folder / 'w.pt'}")[0] == 0
        stored = self.onnx.load(folder / "out/line.onnx").graph.initializer
        assert [self.onnx.numpy_helper.to_array(tensor).item() for tensor in stored if tensor.name == "factor"] == [5.0]

    def test_an_old_pytorch_whose_loader_runs_code_gets_no_weights(self, folder):
        import torch  # noqa: PLC0415

        torch.save({"factor": torch.tensor([5.0])}, folder / "w.pt")
        (folder / "old.py").write_text("import torch\ntorch.__version__ = '2.9.1'\nfrom lines import Line\n")
        assert refused(folder, f"--weights={folder / 'w.pt'}", "--import-module=old") == (
            "--weights: expected PyTorch 2.10 or later, whose weights-only loader is safe, got 2.9.1: "
            "pip install 'torch>=2.10'"
        )

    def test_a_modules_own_problem_is_one_line(self, folder):
        changed = ["--model-name=refuse", "--model-param=why=its own"]
        assert export(folder, *changed) == (1, [], ["a line of its own"])
        assert not (folder / "out").exists() or not list((folder / "out").iterdir())

    def test_a_module_that_fails_ends_in_one_line_behind_its_traceback(self, folder):
        line = f"{folder}/lines.py: fail raised ZeroDivisionError: no way"
        assert refused(folder, "--model-name=fail", "--model-param=") == line
        line = f"{folder}/lines.py: expected a function or class nothing, got none"
        assert refused(folder, "--model-name=nothing") == line
        (folder / "broken.py").write_text("import torch\n1 / 0\n")
        line = "--import-module: importing broken raised ZeroDivisionError: division by zero"
        assert refused(folder, "--import-module=broken") == line
        line = f"--import-module: expected a module nowhere in {folder}, got none"
        assert refused(folder, "--import-module=nowhere") == line
        line = "torch.onnx.export of Branch: RuntimeError: cannot be traced"
        assert refused(folder, "--model-name=Branch") == line

    def test_the_folders_come_first_while_the_module_is_imported_and_the_model_is_created(self, folder):
        """Open Model Zoo's gpt-2 imports transformers, which it has unpacked there; others import their neighbours."""
        package = folder / "dl/unpacked/deep"
        package.mkdir(parents=True)
        (package.parent / "__init__.py").write_text("")
        (package / "__init__.py").write_text("from unpacked.deep.factor import FACTOR\n")
        (package / "factor.py").write_text("FACTOR = 7\n")
        (folder / "dl/later.py").write_text("ONE = 1\n")
        (folder / "dl/turtle.py").write_text("WINS = 3\n")  # over the installed one
        (folder / "neighbours.py").write_text(
            "import lines\nfrom unpacked.deep import FACTOR\n"
            "def make():\n    import later, turtle\n    return lines.Line(FACTOR * turtle.WINS * later.ONE)\n"
        )
        changed = ["--import-module=neighbours", "--model-name=make", "--model-param="]
        line = "--import-module: importing neighbours raised ModuleNotFoundError: No module named 'unpacked'"
        assert refused(folder, *changed) == line
        assert export(folder, *changed, more=[f"--model-path={folder}/dl"]) == (0, [], [])
        stored = self.onnx.load(folder / "out/line.onnx").graph.initializer
        assert [self.onnx.numpy_helper.to_array(tensor).item() for tensor in stored if tensor.name == "factor"] == [
            21.0
        ]

    def test_a_module_in_a_package(self, folder):
        (folder / "nets").mkdir()
        (folder / "nets/lines.py").write_bytes((folder / "lines.py").read_bytes())
        assert export(folder, "--import-module=nets.lines") == (0, [], [])
        line = f"--import-module: expected a module nets.none in {folder}, got none"
        assert refused(folder / "nets", "--import-module=nets.none", f"--model-path={folder}") == line

    @pytest.mark.without_coverage
    def test_a_full_disk(self, folder):
        assert refused(folder, limit=100) == f"{folder}/out/line.onnx: File too large"

    def test_a_place_that_cannot_be(self, folder):
        (folder / "file").write_text("")
        code, _, err = export(folder, f"--output-file={folder}/file/line.onnx")
        assert (code, err) == (1, [f"{folder}/file/.line.onnx.new: Not a directory"])

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
    def test_a_folder_whose_name_is_no_utf_8(self, folder):
        line = refused(folder, f"--output-file={folder}/out/{os.fsdecode(bytes([255]))}/line.onnx")
        assert line.endswith("/line.onnx: the package onnx takes paths in UTF-8 alone; rename it, or give another")

    def external(self, folder: Path, values: np.ndarray) -> Path:
        """A model whose two tensors lie in files beside it, one each, as PyTorch leaves models of more than 2 GB."""
        folder.mkdir()
        helper = self.onnx.helper
        x, y = (helper.make_tensor_value_info(name, 1, [None, values.size]) for name in "xy")
        tensors = [self.onnx.numpy_helper.from_array(values * n, f"w.{n}") for n in (1, 2)]
        nodes = [helper.make_node("Add", ["x", "w.1"], ["z"]), helper.make_node("Mul", ["z", "w.2"], ["y"])]
        model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], tensors))
        model.ir_version = 8
        options = {"save_as_external_data": True, "all_tensors_to_one_file": False, "size_threshold": 0}
        self.onnx.save_model(model, folder / "big.onnx", **options)
        return folder / "big.onnx"

    def test_external_data_becomes_one_file_that_is_named_by_its_content(self, tmp_path):
        import openvino  # noqa: PLC0415

        target = tmp_path / "big.onnx"
        names = []
        for number in (1, 1, 2):
            values = np.full(400, number, np.float32)
            path = self.external(tmp_path / "new", values)
            assert len(list(path.parent.iterdir())) == 3
            to_onnx.gather_external_data(self.onnx, path)
            self.onnx.checker.check_model(str(path))
            to_onnx.publish(path.parent, target)
            path.parent.rmdir()
            (data,) = tmp_path.glob("*.data")
            names.append(data.name)
            assert sorted(tmp_path.iterdir()) == sorted([target, data])
            compiled = openvino.Core().compile_model(target, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            np.testing.assert_array_equal(compiled(np.ones((1, 400), np.float32))[0], (1 + values) * 2 * values[None])
        assert names[0] == names[1] != names[2]

    def test_a_small_model_has_no_file_beside_it(self, tmp_path):
        path = self.external(tmp_path / "new", np.ones(4, np.float32))
        model = self.onnx.load(path)
        for part in path.parent.iterdir():
            part.unlink()
        self.onnx.save_model(model, path)
        before = path.read_bytes()
        to_onnx.gather_external_data(self.onnx, path)
        assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])
