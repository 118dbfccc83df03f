"""Real ONNX files, written by onnx, to IRs by openvino.convert_model; and what is refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from support.onnx_tree import convert, names, write_onnx, write_tree


def test_a_shape_that_is_none_is_refused_before_an_export(tmp_path, capsys):
    write_tree(tmp_path, framework="pytorch", recipe=None, conversion_to_onnx_args=["--refused"])
    line = "########## Error: --input_shape: expected shapes as [1,1024] or [?,1..1024], got '1,3'"
    done = convert(tmp_path, capsys, "--precisions=FP32", "--input_shape=1,3")
    assert done == (1, ["", "FAILED:", "toy"], [line])
    assert names(tmp_path / "public/toy") == ["model.yml", "toy.onnx", "vocab.json"]


@pytest.mark.extras("onnx")
class TestConvertModel:
    """openvino.convert_model on real files, written by onnx."""

    def tree(self, root: Path, **changed: Any) -> Path:
        changed.setdefault("input_info", [{"name": "x", "layout": "N?"}])
        write_tree(root, **changed)
        return write_tree(root, write_onnx(root / "public/toy/toy.onnx"), **changed)

    def model(self, root: Path, precision: str = "FP32") -> openvino.Model:
        return openvino.Core().read_model(root / "public/toy" / precision / "toy.xml")

    def test_all_outputs_under_their_names(self, tmp_path, capsys):
        code, out, err = convert(self.tree(tmp_path), capsys)
        assert (code, err, len(out)) == (0, [], 6)
        for precision, tenth in (("FP16", np.float16(0.1)), ("FP32", np.float32(0.1))):
            assert names(tmp_path / "public/toy" / precision) == ["toy.bin", "toy.xml", "vocab.json"]
            model = self.model(tmp_path, precision)
            assert [port.get_any_name() for port in (*model.inputs, *model.outputs)] == ["x", "a", "b"]
            assert str(model.input(0).partial_shape) == "[?,3]"
            assert model.get_parameters()[0].layout == openvino.Layout("[N,?]")
            results = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
                np.zeros((2, 3), np.float32)
            )
            np.testing.assert_array_equal(results["a"][:, 0], [np.float32(tenth)] * 2)
            np.testing.assert_array_equal(results["b"], 2 * results["a"])

    @pytest.mark.parametrize(
        ("asked", "got"),
        [("a", ["a"]), ("first", ["a"]), ("2nd", ["b"]), ("b,first", ["a", "b"]), ("b,a,2nd", ["a", "b"])],
    )
    def test_outputs_by_tensor_or_node(self, tmp_path, capsys, asked, got):
        """In the order of the file, whatever order was given: Model Optimizer does so too."""
        convert(self.tree(tmp_path), capsys, f"--output={asked}", "--input_shape=[1..7,3]", "--precisions=FP32")
        model = self.model(tmp_path)
        assert [port.get_any_name() for port in model.outputs] == got
        assert str(model.input(0).partial_shape) == "[1..7,3]"

    def test_the_descriptors_shape_unless_another_is_asked_for(self, tmp_path, capsys):
        self.tree(tmp_path, input_info=[{"name": "x", "shape": [5, 3]}])
        convert(tmp_path, capsys, "--precisions=FP32")
        assert str(self.model(tmp_path).input(0).partial_shape) == "[5,3]"
        convert(tmp_path, capsys, "--precisions=FP32", "--input_shape=[?,3]")
        assert str(self.model(tmp_path).input(0).partial_shape) == "[?,3]"

    def refused(self, root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
        code, out, err = convert(root, capsys, "--precisions=FP32", *arguments)
        assert (code, out[2:], len(err)) == (1, ["", "FAILED:", "toy"], 1)
        assert names(root / "public/toy") == ["model.yml", "toy.onnx", "vocab.json"]
        return err[0].removeprefix("########## Error: ")

    def test_what_cannot_be_asked_for(self, tmp_path, capsys):
        self.tree(tmp_path)
        path = tmp_path / "public/toy/toy.onnx"
        line = f"--output: {path} has no tensor and no node 'c'; its outputs are a, b"
        assert self.refused(tmp_path, capsys, "--output=a,c") == line
        line = "--input_shape: expected a shape for each of x, got 2"
        assert self.refused(tmp_path, capsys, "--input_shape=[1,3],[2,3]") == line
        line = f"{path}: openvino.convert_model: "
        assert self.refused(tmp_path, capsys, "--input_shape=[1,4]").startswith(line)

    def test_a_damaged_file(self, tmp_path, capsys):
        raw = write_onnx(tmp_path / "whole.onnx")
        path = tmp_path / "public/toy/toy.onnx"
        for damaged in (raw[: len(raw) // 2], b"", b"no onnx file at all", raw[::-1]):
            write_tree(tmp_path, damaged, input_info=[{"name": "x"}])
            assert self.refused(tmp_path, capsys).startswith(f"{path}: ")
            line = f"{path}: expected an ONNX file, got something else: "
            if damaged and not raw.startswith(damaged):
                assert self.refused(tmp_path, capsys, "--output=a").startswith(line)

    def test_external_data_that_is_missing_is_named(self, tmp_path, capsys):
        options = {"save_as_external_data": True, "location": "toy.data", "size_threshold": 0}
        raw = write_onnx(tmp_path / "toy.onnx", **options)
        write_tree(tmp_path, raw, input_info=[{"name": "x"}])
        path = tmp_path / "public/toy/toy.onnx"
        data = path.with_name("toy.data")
        line = f"{path}: its weights in {data} are missing or damaged; fetch that file again"
        assert self.refused(tmp_path, capsys) == line

    def test_node_names_need_onnx(self, tmp_path, capsys, monkeypatch):
        self.tree(tmp_path)
        monkeypatch.setitem(sys.modules, "onnx", None)
        line = "--output: onnx is not installed; run: pip install 'omz-gpt2[onnx]'"
        assert self.refused(tmp_path, capsys, "--output=a") == line
