"""random_checkpoint: the result is a complete GPT-2 of the requested size."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import gpt2_recipe
from gpt2_recipe.readers.safetensors_file import read_tensors
from gpt2_recipe.weights import expected_shapes
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.benchmark.random_checkpoint import SIZES, make_checkpoint
from gpt2_tools.common.problem import Problem

PARAMETERS = {  # published, but for the embedded model's: its own README
    "gpt-2-mini": 6_177_536,
    "distilgpt2": 81_912_576,
    "gpt-2": 124_439_808,
    "gpt-2-medium": 354_823_168,
    "gpt-2-large": 774_030_080,
    "gpt-2-xl": 1_557_611_200,
}


@pytest.mark.parametrize("size", SIZES)
def test_each_size_is_the_published_one(size):
    fields = {"n_positions": 1024, "vocab_size": 50257} | SIZES[size]
    config = gpt2_recipe.GPT2Config(
        **fields, n_inner=4 * fields["n_embd"], layer_norm_epsilon=1e-5, activation_function="gelu_new",
        tie_word_embeddings=True, eos_token_ids=(),
    )  # fmt: skip
    assert sum(int(np.prod(shape)) for shape in expected_shapes(config).values()) == PARAMETERS[size]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "gpt2"
    make_checkpoint(folder, "gpt-2-mini")
    return folder


def test_all_its_files_have_the_mode_of_new_files(folder):
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_it_is_whole_and_converts(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "merges.txt", "model.safetensors", "vocab.json",
    ]  # fmt: skip
    conversion = gpt2_recipe.convert(folder)
    assert conversion.facts["omz_gpt2"]["vocab_size"] == 8192
    assert conversion.facts["omz_gpt2"]["weights"] == "random"
    note = f"{folder / 'model.safetensors'}: says that its weights are random: its texts mean nothing"
    assert conversion.notes == [note]
    assert sum(tensor.data.nbytes for tensor in read_tensors(folder / "model.safetensors").values()) == 4 * 6_177_536


def test_the_demo_says_that_they_are_random_and_of_weights_that_were_saved_again_nobody_does(run, folder, tmp_path):
    assert run("omz_converter", "--checkpoint", folder, "-o", tmp_path / "random").returncode == 0
    (ir,) = (tmp_path / "random").glob("**/FP16/*.xml")
    done = run("gpt2_text_prediction_demo", "-m", ir, "-i", "a", "-n", 1)
    assert b"[ WARNING ] the model's weights are random: its texts mean nothing\n" in done.stderr
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    save_file(load_file(again / "model.safetensors"), again / "model.safetensors")
    assert "weights" not in gpt2_recipe.describe(again).facts["omz_gpt2"]


def test_its_tokenizer_covers_the_vocabulary_and_reads_text(folder):
    tokenizer = GPT2Tokenizer(folder / "vocab.json", folder / "merges.txt")
    assert (tokenizer.vocab_size, tokenizer.end_of_text_id) == (8192, 8191)
    text = "The poem was written by a whale. 日本\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("The poem was written by")) < 10
    assert json.loads((folder / "config.json").read_bytes())["eos_token_id"] == 8191


def test_the_same_seed_gives_the_same_file_and_another_another(folder, tmp_path):
    for seed in (0, 1):
        make_checkpoint(tmp_path / str(seed), "gpt-2-mini", seed)
    first = (folder / "model.safetensors").read_bytes()
    assert (tmp_path / "0/model.safetensors").read_bytes() == first
    assert (tmp_path / "1/model.safetensors").read_bytes() != first


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "model.safetensors").write_text("dear")
    with pytest.raises(Problem, match="expected a new or an empty folder; nothing was written"):
        make_checkpoint(tmp_path, "gpt-2-mini")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    (tmp_path / "file").write_text("dear")
    with pytest.raises(Problem, match="expected a new or an empty folder"):
        make_checkpoint(tmp_path / "file", "gpt-2-mini")
    with pytest.raises(Problem, match="cannot be written: Not a directory"):
        make_checkpoint(tmp_path / "file/below", "gpt-2-mini")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    with pytest.raises(Problem, match="link: expected a new or an empty folder"):
        make_checkpoint(tmp_path / "link", "gpt-2-mini")
