"""The recipe as omz_model_tools uses it: a folder becomes a model, companions and facts; the same bytes every time."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import openvino as ov
import pytest

import gpt2_recipe
from gpt2_recipe import Problem, convert
from support.toy import Toy, assert_close, compiled, save, write_safetensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Toy(masks=True).write(tmp_path_factory.mktemp("checkpoint"))


def test_the_entry_point_names_this_package():
    (entry,) = entry_points(group="omz_model_tools.recipes", name="gpt2")
    assert entry.value == "gpt2_recipe"


def test_the_facts_are_those_of_the_checkpoint(folder):
    checksums = {name: name[::-1] for name in ("config.json", "model.safetensors", "vocab.json")}
    assert convert(folder, checksums).facts == {
        "omz_gpt2": {
            "recipe": "gpt2",
            "source_sha256": "srosnetefas.ledom",
            "n_positions": 16,
            "vocab_size": 300,
            "eos_token_ids": "299",
        }
    }


def test_an_unknown_end_of_text_is_no_fact(tmp_path):
    toy = Toy()
    toy.write(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"eos_token_id": 299', '"eos_token_id": null'))
    assert "eos_token_ids" not in convert(tmp_path).facts["omz_gpt2"]


def test_companions_are_the_vocabulary_files_that_exist(tmp_path):
    Toy().write(tmp_path)
    assert convert(tmp_path).companions[1:] == [tmp_path / "vocab.json", tmp_path / "merges.txt"]
    (tmp_path / "merges.txt").unlink()
    assert convert(tmp_path).companions == [tmp_path / "vocab.json"]


def test_the_saved_ir_computes_what_the_model_computes(tmp_path):
    toy = Toy(n_head=3)
    read = ov.Core().read_model(toy.ir(tmp_path))
    ids = np.array([[3, 1, 4, 1, 5]])
    assert_close(compiled(read)([ids])[0][0], toy.logits(ids[0]))
    assert read.get_rt_info(["omz_gpt2", "n_positions"]).value == "16"
    assert read.input(0).get_names() == {"input"}
    assert read.output(0).get_names() == {"output"}


@pytest.mark.parametrize("compress", [False, True], ids=["FP32", "FP16"])
def test_the_same_folder_gives_the_same_bytes_again_and_in_another_process(folder, tmp_path, compress):
    code = (
        "import sys; from pathlib import Path; import gpt2_recipe, openvino\n"
        "model = gpt2_recipe.convert(Path(sys.argv[1])).model\n"
        "openvino.save_model(model, sys.argv[2], compress_to_fp16=bool(int(sys.argv[3])))"
    )
    for name in ("one", "two"):
        ov.save_model(convert(folder).model, tmp_path / f"{name}.xml", compress_to_fp16=compress)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "17"}
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "three.xml"), str(int(compress))]
    subprocess.run(command, check=True, env=environment)
    for suffix in ("xml", "bin"):
        one, two, three = (tmp_path.joinpath(f"{name}.{suffix}").read_bytes() for name in ("one", "two", "three"))
        assert one == two == three


def test_the_weights_of_an_fp16_ir_take_half_the_bytes(folder, tmp_path):
    for name, compress in (("half", True), ("whole", False)):
        ov.save_model(convert(folder).model, tmp_path / f"{name}.xml", compress_to_fp16=compress)
    half, whole = ((tmp_path / f"{name}.bin").stat().st_size for name in ("half", "whole"))
    assert half == pytest.approx(whole / 2, rel=0.02)


def test_data_at_an_odd_address_is_converted(tmp_path):
    toy = Toy()
    toy.write(tmp_path)
    path = tmp_path / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    for padding in range(1, 9):
        path.write_bytes(
            (length + padding).to_bytes(8, "little") + raw[8 : 8 + length] + b" " * padding + raw[8 + length :]
        )
        assert_close(compiled(convert(tmp_path).model)([np.array([[5, 6, 7]])])[0][0], toy.logits([5, 6, 7]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_weights_that_are_no_numbers_are_converted_as_they_are(tmp_path, value, dtype):
    toy = Toy(dtype=dtype)
    tensors = toy.tensors
    stored = {"F32": np.float32, "F16": np.float16, "BF16": np.float32}[dtype](value)
    tensors["h.0.ln_1.weight"][1][3] = np.float32(value).view(np.uint32) >> 16 if dtype == "BF16" else stored
    toy.write(tmp_path)
    write_safetensors(tmp_path / "model.safetensors", tensors)
    logits = compiled(convert(tmp_path).model)([np.array([[1, 2]])])[0]
    assert not np.isfinite(logits).any()


def test_a_converted_model_outlives_its_checkpoint(tmp_path):
    toy = Toy()
    model = toy.model(tmp_path / "source")
    for path in (tmp_path / "source").iterdir():
        path.unlink()
    read = ov.Core().read_model(save(model, tmp_path / "toy.xml"))
    assert_close(compiled(read)([np.array([[5, 6]])])[0][0], toy.logits([5, 6]))


def test_the_checkpoint_is_left_as_it_was(folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    save(convert(folder).model, tmp_path / "toy.xml")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused_with_the_missing_path(tmp_path, name):
    Toy().write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(Problem, match="cannot be read") as caught:
        convert(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_problem_is_the_one_that_the_package_exports():
    assert gpt2_recipe.Problem is Problem
    assert issubclass(Problem, Exception)
