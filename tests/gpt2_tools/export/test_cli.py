"""cli and recipe_ir: what is accepted, what is refused, and an earlier export is only replaced by a complete one."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import types
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from gpt2_recipe import read_config
from gpt2_recipe.tokenizer.added_tokens import AddedToken, as_fact
from gpt2_text_prediction.engine.backends.kv_cache import with_kv_cache
from gpt2_tools.export.cli import main
from gpt2_tools.export.recipe_ir import read_recipe_ir, weights
from omz_model_tools.common.lock import exclusive
from support import HANGS_AFTER
from support.toy import Toy, save

COMMANDS = Path(sysconfig.get_path("scripts"))


def refusal(capsys, *arguments: object) -> str:
    """The one line that a run ends with."""
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def foreign(path, **rt_info):
    """The toy's model as others would have made it."""
    model = ov.Core().read_model(Toy().ir(path.parent / "toy"))
    parameter = model.get_parameters()[0]
    other = ov.Model(model.get_results(), [parameter], "foreign")
    for name, value in rt_info.items():
        other.set_rt_info(value, name)
    return save(other, path)


@pytest.mark.parametrize(
    "toy",
    [
        Toy(),
        Toy(n_layer=3, n_head=3, n_embd=15, n_inner=20, tied=False, eos_token_id=7, seed=1),
        Toy(activation="gelu", epsilon=1e-2, dtype="F16"),
    ],
    ids=["plain", "untied", "erf"],
)
def test_configuration_and_weights_are_read_back(toy, tmp_path):
    ir = read_recipe_ir(toy.ir(tmp_path))
    asked = read_config(tmp_path / "config.json")
    for name in set(asked.__dataclass_fields__) - {"bos_token_ids"}:  # the first end token, where none is named
        assert getattr(ir.config, name) == getattr(asked, name), name
    found = dict(weights(ir))
    assert found.keys() == toy.state.keys()
    for name, values in toy.state.items():
        np.testing.assert_array_equal(found[name], values)
    assert not ir.quantized


def test_weights_of_an_fp16_ir_are_those_of_its_constants(tmp_path):
    toy = Toy()
    model = toy.model(tmp_path)
    ov.save_model(model, tmp_path / "half.xml", compress_to_fp16=True)
    found = dict(weights(read_recipe_ir(tmp_path / "half.xml")))
    for name, values in toy.state.items():
        np.testing.assert_array_equal(found[name], values.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("rt_info", "maker"),
    [
        ({"optimum": "2.2", "conversion_parameters": "x"}, "optimum-intel"),
        ({"MO_version": "2024.6", "conversion_parameters": "x"}, "Model Optimizer"),
        ({"conversion_parameters": "x"}, "openvino.convert_model"),
        ({}, "an unknown converter"),
    ],
)
def test_irs_of_others_are_refused_by_name(tmp_path, capsys, rt_info, maker):
    path = foreign(tmp_path / "foreign.xml", **rt_info)
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out") == (
        f"{path}: expected an IR of the recipe gpt2, got one of {maker}; "
        "convert the checkpoint with omz_converter --route direct\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.extras("onnx")
def test_an_onnx_file_is_refused_as_such(tmp_path, capsys):
    import onnx  # noqa: PLC0415

    helper = onnx.helper
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out") == (
        f"{path}: expected an IR of the recipe gpt2, got an ONNX file; "
        "convert the checkpoint with omz_converter --route direct\n"
    )


def test_a_model_of_another_interface_is_refused_by_its_makers_name_too(tmp_path, capsys):
    x = ops.parameter([1, 3], np.float32, name="x")
    model = ov.Model([ops.result(x), ops.result(ops.relu(x))], [x], "two outputs")
    model.set_rt_info("x", "conversion_parameters")
    save(model, tmp_path / "two.xml")
    assert "got one of openvino.convert_model" in refusal(capsys, "-m", tmp_path / "two.xml", "-o", tmp_path / "out")


def test_an_export_is_no_model_to_export(tmp_path, capsys):
    path = save(with_kv_cache(Toy().model(tmp_path / "toy")), tmp_path / "openvino_model.xml")
    wanted = f"{path}: is an export already; give the IR it was exported from\n"
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out") == wanted


def test_a_missing_vocabulary_and_one_of_another_model(tmp_path, capsys):
    path = Toy().ir(tmp_path / "toy")
    (path.parent / "vocab.json").unlink()
    assert "vocab.json: there is no such file" in refusal(capsys, "-m", path, "-o", tmp_path / "out")
    Toy(vocab_size=280).write_vocabulary(path.parent)
    wanted = f"{path}: has 300 tokens, but {path.parent}/vocab.json 280; convert it again\n"
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out") == wanted


def test_a_vocabulary_with_more_tokens_than_the_embedding_has(tmp_path, capsys):
    path = Toy().ir(tmp_path / "toy")
    Toy(vocab_size=310).write_vocabulary(path.parent)
    wanted = (
        f"{path}: its embedding has 300 rows, too few for the 310 tokens of {path.parent}/vocab.json; put the "
        "vocab.json and merges.txt that it was trained with beside it, or resize the checkpoint's embedding and "
        "convert that\n"
    )
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out") == wanted


def added(toy: Toy, folder, *tokens: AddedToken):
    """The IR of a toy whose recipe wrote down these tokens, which its vocabulary has in the place of its last ones."""
    model = toy.model(folder)
    ids = json.loads((folder / "vocab.json").read_bytes())
    names = {token.id: token.content for token in tokens}
    (folder / "vocab.json").write_text(json.dumps({names.get(i, token): i for token, i in ids.items()}))
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    made = [line for line in merges if line.startswith("#") or ids.get(line.replace(" ", "")) not in names]
    (folder / "merges.txt").write_text("\n".join(made) + "\n", encoding="utf-8")
    model.set_rt_info(as_fact(tokens), ["omz_gpt2", "added_tokens"])
    return save(model, folder / "toy.xml")


def test_added_tokens_are_read_back_as_far_as_the_vocabulary_has_them(tmp_path):
    pad, other = AddedToken("<pad>", 297, special=True), AddedToken("a b", 298, lstrip=True)
    end = AddedToken("<|endoftext|>", 299, special=True)
    path = added(Toy(), tmp_path, pad, other)
    assert _added_tokens(path) == [pad, other, end]
    Toy().write_vocabulary(tmp_path)
    assert _added_tokens(path) == [end]


def _added_tokens(path: Path) -> list[AddedToken]:
    fields = json.loads(read_recipe_ir(path).tokenizer_json)
    return [AddedToken(**token) for token in fields["added_tokens"]]


def test_added_tokens_in_an_unknown_form(tmp_path, capsys):
    model = Toy().model(tmp_path)
    model.set_rt_info('[{"name": "x"}]', ["omz_gpt2", "added_tokens"])
    path = save(model, tmp_path / "toy.xml")
    wanted = f"{path}: its rt_info lists added tokens in an unknown format; convert it again\n"
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out") == wanted


@pytest.mark.parametrize(("form", "package"), [("genai", "openvino_tokenizers"), ("onnx", "onnx")])
def test_a_full_disk_is_foreseen(tmp_path, capsys, monkeypatch, form, package):
    path = Toy().ir(tmp_path / "toy")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=8_000_000))
    monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    for name in ("tokenizer_pipeline", "utils"):
        monkeypatch.setattr(sys.modules[package], name, None, raising=False)
    wanted = f"{tmp_path}: expected 9 MB of free space for out, got 8 MB; make room\n"
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out", "--format", form) == wanted
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy"]


@pytest.mark.extras("onnx")
def test_a_second_one_waits_and_begins_with_what_the_first_left(tmp_path):
    path, out = Toy().ir(tmp_path / "toy"), tmp_path / "out"
    command = [COMMANDS / "gpt2_export", "-m", path, "-o", out, "--format", "onnx"]
    with exclusive(tmp_path / ".out.lock", lambda: None):
        (tmp_path / ".out.new").mkdir()  # the first one's, at work
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr.readline() == "Waiting for another gpt2_export that writes this folder...\n"
        assert (tmp_path / ".out.new").is_dir()
        out.mkdir()
        (out / "model.onnx").write_bytes(b"omz-gpt2")
        (out / "notes.txt").write_text("mine")
    assert second.communicate(timeout=HANGS_AFTER) == (f"{out}: {path} for ONNX runtimes\n", "")
    assert second.returncode == 0
    assert sorted(entry.name for entry in out.iterdir()) == ["model.onnx", "notes.txt", "test_data_set_0"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "toy"]


@pytest.mark.extras("onnx")
def test_what_appears_in_the_folder_meanwhile_stays(tmp_path):
    path, out = Toy().ir(tmp_path / "toy"), tmp_path / "out"
    command = [COMMANDS / "gpt2_export", "-m", path, "-o", out, "--format", "onnx"]
    with exclusive(tmp_path / ".out.lock", lambda: None):
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr.readline().startswith("Waiting")
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    assert second.communicate(timeout=HANGS_AFTER)[1].startswith(f"{out}: expected a new or an empty folder")
    assert [entry.name for entry in out.iterdir()] == ["notes.txt"]


def test_a_missing_model(tmp_path, capsys):
    path = tmp_path / "no.xml"
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out").startswith(f"{path}: there is no such model file")


@pytest.mark.parametrize("name", ["openvino_model.xml", "model.onnx", "notes.txt"])
@pytest.mark.parametrize(("form", "file"), [("onnx", "model.onnx"), ("genai", "openvino_model.xml")])
def test_a_folder_with_something_else_in_it_stays(tmp_path, capsys, name, form, file):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    path = Toy().ir(tmp_path / "toy")
    wanted = f"{out}: expected a new or an empty folder, or an earlier export with its {file}; nothing was written\n"
    assert refusal(capsys, "-m", path, "-o", out, "--format", form) == wanted
    assert (out / name).read_text() == "mine"


def test_a_file_and_the_root_are_no_folder_to_write(tmp_path, capsys):
    path = Toy().ir(tmp_path / "toy")
    (tmp_path / "out").write_text("mine")
    assert "expected a folder or nothing, got a file" in refusal(capsys, "-m", path, "-o", tmp_path / "out")
    assert "expected a new or an empty folder" in refusal(capsys, "-m", path, "-o", "/")


def test_flags_of_the_other_format(tmp_path, capsys):
    wanted = "--lm_head and --with_past: belong to --format onnx, which was not given\n"
    assert refusal(capsys, "-m", "x.xml", "-o", tmp_path / "out", "--lm_head") == wanted


def test_without_openvino_tokenizers_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino_tokenizers", None)
    path = Toy().ir(tmp_path / "toy")
    wanted = "openvino_tokenizers: is not installed; run: pip install 'omz-gpt2[genai]'\n"
    assert refusal(capsys, "-m", path, "-o", tmp_path / "out") == wanted
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy"]


@pytest.mark.parametrize(("form", "package"), [("genai", "openvino_tokenizers"), ("onnx", "onnx")])
def test_packages_are_imported_before_there_is_anything_to_clean_up(tmp_path, form, package):
    """Ctrl-C while a package is imported ends the process at once (omz_model_tools.common.interrupt)."""
    (tmp_path / "fake" / package).mkdir(parents=True)
    (tmp_path / "fake" / package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    program = "import sys\nfrom gpt2_tools.export.cli import main\nsys.exit(main(sys.argv[1:]))"
    arguments = ["-m", str(Toy().ir(tmp_path / "toy")), "-o", str(tmp_path / "out"), "--format", form]
    found = os.pathsep.join([str(tmp_path / "fake"), *(path for path in sys.path if path)])
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": found}, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"Interrupted\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake", "toy"]
