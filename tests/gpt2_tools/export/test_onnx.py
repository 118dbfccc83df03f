"""onnx and onnx_graph: the file has the zoo's interface, and onnxruntime agrees with numpy."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from gpt2_tools.export.cli import main
from gpt2_tools.export.onnx import load_onnx, write_folder
from gpt2_tools.export.recipe_ir import read_recipe_ir
from support import numpy_gpt2
from support.toy import Toy

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'omz-gpt2[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which judges the file")

pytestmark = pytest.mark.extras("onnx", "onnxruntime")

TOYS = {
    "plain": Toy(n_positions=48),
    "three heads, untied, F16": Toy(n_layer=3, n_head=3, n_embd=15, tied=False, dtype="F16", n_positions=48, seed=1),
    "erf, another epsilon": Toy(n_layer=1, n_head=1, n_embd=7, activation="gelu", epsilon=1e-2, seed=2),
    "each layer's attention flatter": Toy(n_positions=48, inverse_layer=True, seed=3),
}
FORMS = [(lm_head, with_past) for lm_head in (False, True) for with_past in (False, True)]


@pytest.fixture(params=TOYS, ids=lambda name: name.replace(" ", "_"))
def toy(request) -> Toy:
    return TOYS[request.param]


def write_export(toy: Toy, folder: Path, *, lm_head: bool = True, with_past: bool = False, **options) -> Path:
    """Export the IR of a toy into a new folder; return the folder. The IR lies in folder.parent / "toy-ir"."""
    ir = read_recipe_ir(toy.ir(folder.parent / "toy-ir"))
    folder.mkdir(parents=True)
    write_folder(load_onnx(), ir, folder, lm_head=lm_head, with_past=with_past, **options)
    return folder


def hidden_and_presents(toy, ids):  # [L] -> [L, C], n_layer times [2, H, L, D]
    """The oracle, opened: what its blocks hold."""
    state = {name: values.astype(np.float64) for name, values in toy.state.items()}
    x, presents = state["wte.weight"][ids] + state["wpe.weight"][: len(ids)], []
    for i in range(toy.n_layer):
        p = {name.removeprefix(f"h.{i}."): v for name, v in state.items() if name.startswith(f"h.{i}.")}
        normal = numpy_gpt2.norm(x, p, "ln_1", toy.epsilon)
        _, k, v = np.split(numpy_gpt2.linear(normal, p, "attn.c_attn"), 3, axis=-1)
        presents.append(np.stack([part.reshape(len(ids), toy.n_head, -1).swapaxes(0, 1) for part in (k, v)]))
        x = x + numpy_gpt2.attention(normal, p, toy.n_head, toy.attention_scale(i, toy.n_embd // toy.n_head))
        x = x + numpy_gpt2.mlp(numpy_gpt2.norm(x, p, "ln_2", toy.epsilon), p, toy.activation)
    return numpy_gpt2.norm(x, state, "ln_f", toy.epsilon), presents


def expected(toy, ids, lm_head):
    hidden, presents = hidden_and_presents(toy, ids)
    return (toy.logits(ids) if lm_head else hidden), presents


def close(got, wanted):
    assert got.shape == wanted.shape
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)


def session(folder):
    return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def data(folder, kind):
    paths = (folder / "test_data_set_0").glob(f"{kind}_*.pb")
    ordered = sorted(paths, key=lambda path: int(path.stem.split("_")[1]))
    return [onnx.numpy_helper.to_array(onnx.load_tensor(path)) for path in ordered]


@pytest.mark.parametrize("lm_head", [False, True], ids=["hidden states", "scores"])
def test_batches_of_sequences_equal_the_oracle(toy, tmp_path, lm_head):
    ids = np.random.default_rng(0).integers(0, toy.vocab_size, (2, 3, 7))
    scores, *presents = session(write_export(toy, tmp_path / "zoo", lm_head=lm_head)).run(None, {"input1": ids})
    assert len(presents) == toy.n_layer
    for row, sequence in enumerate(ids.reshape(6, 7)):
        wanted, pasts = expected(toy, sequence, lm_head)
        close(scores.reshape(6, 7, -1)[row], wanted)
        for got, past in zip(presents, pasts, strict=True):
            close(got[:, row], past)
    assert scores.shape[:3] == (2, 3, 7)


def test_a_past_continues_where_it_ends(toy, tmp_path):
    run = session(write_export(toy, tmp_path / "zoo", with_past=True)).run
    ids = np.random.default_rng(1).integers(0, toy.vocab_size, (1, 2, 9))
    width = toy.n_embd // toy.n_head
    pasts = [np.zeros((2, 2, toy.n_head, 0, width), np.float32)] * toy.n_layer
    pieces = []
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        names = {f"input{i + 2}": past for i, past in enumerate(pasts)}
        scores, *pasts = run(None, {"input1": ids[:, :, start:stop], **names})
        pieces.append(scores)
    got = np.concatenate(pieces, axis=2)
    for row in range(2):
        close(got[0, row], toy.logits(ids[0, row]))


@pytest.mark.parametrize(("lm_head", "with_past"), FORMS)
def test_the_test_data_is_what_onnxruntime_answers(tmp_path, lm_head, with_past):
    toy = TOYS["plain"]
    folder = write_export(toy, tmp_path / "zoo", lm_head=lm_head, with_past=with_past)
    inputs, outputs = data(folder, "input"), data(folder, "output")
    assert len(inputs) == (1 + toy.n_layer if with_past else 1)
    assert len(outputs) == 1 + toy.n_layer
    given = {f"input{i + 1}": array for i, array in enumerate(inputs)}
    for got, wanted in zip(session(folder).run(None, given), outputs, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


def test_the_test_data_is_of_the_zoos_text(tmp_path):
    folder = write_export(TOYS["plain"], tmp_path / "zoo")
    (ids,) = data(folder, "input")
    assert ids.dtype == np.int64
    wanted, _ = expected(TOYS["plain"], ids[0, 0], True)
    close(data(folder, "output")[0][0, 0], wanted)
    vocab = json.loads((tmp_path / "toy-ir/vocab.json").read_text())
    vocabulary = {i: symbol for symbol, i in vocab.items()}
    assert "".join(vocabulary[i] for i in ids[0, 0]).replace("Ġ", " ") == "Here is some text to encode Hello World"


def test_the_interface_is_that_of_the_zoo(tmp_path):
    folder = write_export(Toy(), tmp_path / "zoo")
    model = onnx.load(folder / "model.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 10)]
    assert model.ir_version == 6
    run = session(folder)
    assert [(port.name, port.type, len(port.shape)) for port in run.get_inputs()] == [("input1", "tensor(int64)", 3)]
    assert [(port.name, len(port.shape)) for port in run.get_outputs()] == [
        ("output1", 4),
        ("output2", 5),
        ("output3", 5),
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "test_data_set_0"]
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


def test_a_tied_head_is_stored_once(tmp_path):
    names = {}
    for tied in (True, False):
        toy = Toy(tied=tied)
        folder = write_export(toy, tmp_path / str(tied) / "zoo")
        stored = onnx.load(folder / "model.onnx").graph.initializer
        names[tied] = {tensor.name for tensor in stored}
        assert set(toy.state) <= names[tied]
    assert "lm_head.weight" not in names[True]


def test_openvino_reads_it_too(tmp_path):
    toy = Toy()
    folder = write_export(toy, tmp_path / "zoo")
    compiled = ov.Core().compile_model(folder / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    close(compiled({"input1": np.array([[[5, 6, 7]]])})["output1"][0, 0], toy.logits([5, 6, 7]))


def test_weights_beyond_protobufs_limit_lie_in_a_file_of_their_own(tmp_path):
    toy = Toy()
    folder = write_export(toy, tmp_path / "zoo", max_bytes=1000)
    size = 4 * sum(values.size for values in toy.state.values())
    assert (folder / "model.onnx.data").stat().st_size == size
    assert (folder / "model.onnx").stat().st_size < size
    scores = session(folder).run(["output1"], {"input1": np.array([[[5, 6, 7]]])})[0]
    close(scores[0, 0], toy.logits([5, 6, 7]))


def test_the_command(run, tmp_path):
    ir = Toy(n_positions=48).ir(tmp_path / "ir")
    for _ in range(2):  # an export is replaced by the next
        done = run("gpt2_export", "-m", ir, "-o", tmp_path / "out", "--format", "onnx", "--lm_head")
        assert done.stderr == b""
        assert (done.returncode, done.stdout.decode()) == (0, f"{tmp_path}/out: {ir} for ONNX runtimes\n")
    scores = session(tmp_path / "out").run(["output1"], {"input1": np.array([[[5, 6]]])})[0]
    close(scores[0, 0], Toy(n_positions=48).logits([5, 6]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ir", "out"]


def test_the_same_ir_gives_the_same_bytes(tmp_path):
    first, second = (write_export(Toy(), tmp_path / name / "zoo") for name in ("a", "b"))
    assert (first / "model.onnx").read_bytes() == (second / "model.onnx").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_no_utf_8_is_one_line(run, tmp_path):
    ir = Toy().ir(tmp_path / "toy-ir")
    folder = tmp_path / os.fsdecode(b"e\xff")
    done = run("gpt2_export", "-m", ir, "--format", "onnx", "-o", folder)
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith("/e\\udcff: the package onnx takes paths in UTF-8 alone; rename it, or give another")
    assert not folder.exists()


def test_without_the_package_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    ir = Toy().ir(tmp_path / "ir")
    assert main(["-m", str(ir), "-o", str(tmp_path / "out"), "--format", "onnx"]) == 1
    assert capsys.readouterr().err == "onnx: is not installed; run: pip install 'omz-gpt2[onnx]'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["ir"]


def test_an_activation_that_is_no_gelu_is_refused(tmp_path, capsys):
    ir = Toy(activation="relu").ir(tmp_path / "ir")
    assert main(["-m", str(ir), "-o", str(tmp_path / "out"), "--format", "onnx"]) == 1
    assert capsys.readouterr().err == (
        f"{ir}: its activation is relu, and ONNX is written with a GELU alone; leave --format onnx out\n"
    )
