"""The ONNX Model Zoo's two models by their own descriptors, from the downloaded file to the text and the checker.

The files are toys of their structure, names and opset, exported from PyTorch: .ci/run has it, `make test` has not.
"""

import shutil
from pathlib import Path

import openvino as ov
import pytest

from support.model_optimizer_python import model_optimizer_python
from support.toy import Toy

pytest.importorskip("torch", reason="needs torch: pip install 'omz-gpt2[onnx]'")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'omz-gpt2[onnx]'")

from support.zoo_toy import write_test_data, write_zoo_model  # noqa: E402

pytestmark = pytest.mark.extras("torch", "onnx")

TOY = Toy(n_layer=12, n_head=2, n_embd=12, n_positions=1024)
OUTPUTS = [f"output{i}" for i in range(1, 14)]
PAST = ["[2,?,2,?,6]"] * 12
SCORES, HIDDEN = "gpt2-lm-head-10", "gpt2-10"
RECOMPUTES = "cannot be given a key/value cache "


@pytest.fixture(scope="module")
def downloads(tmp_path_factory) -> Path:
    """Return a folder in which both models lie as omz_downloader leaves them, and their test data."""
    root = tmp_path_factory.mktemp("zoo")
    for name in (SCORES, HIDDEN):
        write_zoo_model(root / f"public/{name}/{name}.onnx", TOY, lm_head=name == SCORES)
        write_test_data(root / name, TOY, [5, 299, 0, 17, 17, 256, 90, 8], lm_head=name == SCORES)
    return root


@pytest.fixture(scope="module")
def converted(run, downloads) -> Path:
    """Return the folder of downloads with the IRs of both models, in both precisions."""
    done = run("omz_converter", "--name", "gpt2-10,gpt2-lm-head-10", "-d", downloads)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return downloads


@pytest.fixture(scope="module")
def text(run, tmp_path_factory) -> bytes:
    """Return what the demo writes with the direct recipe's IR of the same toy."""
    return demo(run, TOY.ir(tmp_path_factory.mktemp("direct"))).stdout


def demo(run, path: Path):
    done = run("gpt2_text_prediction_demo", "-m", path, "-i", "a test", "--temperature=0", "--max_sample_token_num=9")
    assert done.returncode == 0, done.stderr.decode()
    return done


def interface(path: Path) -> tuple[str, list[str], list[str]]:
    """Return the input's shape, and the outputs' names and shapes."""
    model = ov.Core().read_model(path)
    assert model.input(0).get_names() == {"input1"}
    names = [port.get_any_name() for port in model.outputs]
    return str(model.input(0).partial_shape), names, [str(port.partial_shape) for port in model.outputs]


def test_the_toys_are_of_the_zoos_opset(downloads):
    model = onnx.load(downloads / f"public/{SCORES}/{SCORES}.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 10)]
    assert [port.name for port in model.graph.input] == ["input1"]
    assert [port.name for port in model.graph.output] == OUTPUTS


@pytest.mark.parametrize("precision", ["FP16", "FP32"])
@pytest.mark.parametrize(("name", "width"), [(SCORES, 300), (HIDDEN, 12)])
def test_all_outputs_under_their_own_names(converted, name, width, precision):
    folder = converted / f"public/{name}/{precision}"
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.bin", f"{name}.xml", "merges.txt", "vocab.json"]
    shape, names, shapes = interface(folder / f"{name}.xml")
    assert (shape, names) == ("[?,?,1..1024]", OUTPUTS)
    assert shapes == [f"[?,?,1..1024,{width}]", *(past.replace("2,?,6", "2,1..1024,6") for past in PAST)]


@pytest.mark.parametrize("name", [SCORES, HIDDEN])
def test_the_checker_agrees(run, converted, name):
    for model in (f"public/{name}/FP32/{name}.xml", f"public/{name}/{name}.onnx"):
        done = run("omz_model_checker", "-m", converted / model, "--test_data", converted / name)
        lines = done.stdout.decode().splitlines()
        assert (done.returncode, done.stderr.decode()) == (0, ""), lines
        assert [line.split()[1] for line in lines[:-1]] == OUTPUTS
        assert lines[-1] == "13 of 13 outputs agree (rtol 0.001, atol 1e-05, on CPU in f32)"


def test_the_checker_tells_another_models_data(run, converted, tmp_path):
    write_test_data(tmp_path, Toy(n_layer=12, n_head=2, n_embd=12, n_positions=1024, seed=1), [1, 2, 3])
    done = run("omz_model_checker", "-m", converted / f"public/{SCORES}/FP32/{SCORES}.xml", "--test_data", tmp_path)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[-1].startswith("0 of 13 outputs agree")


def test_the_demo_runs_on_the_scores(run, converted, text):
    done = demo(run, converted / f"public/{SCORES}/FP32/{SCORES}.xml")
    assert done.stdout == text
    assert done.stderr.decode().count(RECOMPUTES) == 1


@pytest.mark.parametrize("maker", ["openvino", "model_optimizer"])
def test_one_output_of_a_static_shape_as_it_was_proposed_to_open_model_zoo(run, downloads, tmp_path, text, maker):
    flags = ["--input_shape=[1,1,1024]", "--precisions=FP32"]
    if maker == "model_optimizer":
        flags.append(f"--python={model_optimizer_python()}")
    graph = onnx.load(downloads / f"public/{SCORES}/{SCORES}.onnx").graph
    (node,) = (node.name for node in graph.node if "output1" in node.output)
    done = run("omz_converter", f"--name={SCORES}", "-d", downloads, "-o", tmp_path, *flags, f"--output={node}")
    assert (done.returncode, done.stderr.decode()) == (0, "")
    xml = tmp_path / f"public/{SCORES}/FP32/{SCORES}.xml"
    assert interface(xml) == ("[1,1,1024]", ["output1"], ["[1,1,1024,300]"])
    assert demo(run, xml).stdout == text


def test_model_optimizer_gives_the_same_outputs(run, downloads, tmp_path):
    flags = ["--precisions=FP32", f"--python={model_optimizer_python()}"]
    done = run("omz_converter", f"--name={SCORES}", "-d", downloads, "-o", tmp_path, *flags)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    xml = tmp_path / f"public/{SCORES}/FP32/{SCORES}.xml"
    assert interface(xml)[:2] == ("[?,?,1..1024]", OUTPUTS)
    checked = run("omz_model_checker", "-m", xml, "--test_data", downloads / SCORES)
    assert checked.returncode == 0, checked.stdout.decode()


def test_a_downloaded_file_that_is_cut(run, downloads, tmp_path):
    folder = tmp_path / f"public/{SCORES}"
    shutil.copytree(downloads / f"public/{SCORES}", folder, ignore=shutil.ignore_patterns("FP*"))
    path = folder / f"{SCORES}.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    done = run("omz_converter", f"--name={SCORES}", "-d", tmp_path)
    (line,) = done.stderr.decode().splitlines()
    assert (done.returncode, line[: len(str(path)) + 18]) == (1, f"########## Error: {path}")
    assert sorted(found.name for found in folder.iterdir()) == [path.name, "merges.txt", "vocab.json"]
