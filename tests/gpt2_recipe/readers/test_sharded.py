"""Shards as transformers writes them are one checkpoint; a wrong index is refused."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_recipe import Problem, convert
from gpt2_recipe.readers.safetensors_file import read_tensors
from gpt2_recipe.readers.sharded import read_sharded
from support.refusal import refused
from support.toy import Toy, assert_close, compiled, write_safetensors

TOY = Toy(prefix="transformer.")
NAMES = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]


def write_sharded(folder: Path, toy: Toy = TOY) -> Path:
    """Write the toy with its weights dealt out to three shards; return the index."""
    toy.write(folder)
    (folder / "model.safetensors").unlink()
    dealt = {name: NAMES[count % 3] for count, name in enumerate(toy.tensors)}
    for shard in NAMES:
        write_safetensors(folder / shard, {name: toy.tensors[name] for name in dealt if dealt[name] == shard})
    return write_index(folder, dealt)


def write_index(folder: Path, weight_map: object) -> Path:
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 5}, "weight_map": weight_map}))
    return index


refusal = partial(refused, Problem, lambda index: read_sharded(index, read_tensors), begins=lambda index: index.parent)


def test_shards_are_one_checkpoint(tmp_path):
    write_sharded(tmp_path)
    conversion = convert(tmp_path, {NAMES[0]: "x", "model.safetensors.index.json": "y"})
    assert_close(compiled(conversion.model)([np.array([[3, 1, 4]])])[0][0], TOY.logits([3, 1, 4]))
    assert "source_sha256" not in conversion.facts["omz_gpt2"]


def test_a_missing_shard_is_named(tmp_path):
    index = write_sharded(tmp_path)
    missing = tmp_path / NAMES[1]
    missing.unlink()
    assert refusal(index) == (
        f"{missing}: model.safetensors.index.json names this shard, and there is no such file; fetch it again"
    )


def test_a_cut_shard_is_named(tmp_path):
    index = write_sharded(tmp_path)
    path = tmp_path / NAMES[2]
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(index).startswith(f"{path}: is not a complete .safetensors file")


def test_a_tensor_in_two_shards(tmp_path):
    index = write_sharded(tmp_path)
    name = "transformer.wte.weight"  # in the first
    both = {**{n: t for n, t in TOY.tensors.items() if n in read_tensors(tmp_path / NAMES[1])}, name: TOY.tensors[name]}
    write_safetensors(tmp_path / NAMES[1], both)
    assert refusal(index) == f"{tmp_path / NAMES[1]}: has {name}, which another shard has too"


def test_an_index_that_disagrees_with_the_shards(tmp_path):
    index = write_sharded(tmp_path)
    right = json.loads(index.read_bytes())["weight_map"]
    wte = "transformer.wte.weight"
    write_index(tmp_path, right | {wte: NAMES[2]})
    assert f"has {wte}, and model.safetensors.index.json lists it in {NAMES[2]}; fetch both again" in refusal(index)
    write_index(tmp_path, {name: shard for name, shard in right.items() if name != wte})
    assert f"has {wte}, and model.safetensors.index.json does not list it; fetch both again" in refusal(index)
    write_index(tmp_path, right | {"more": NAMES[0]})
    assert refusal(index) == f"{tmp_path / NAMES[0]}: model.safetensors.index.json lists more in it, which it lacks"


@pytest.mark.parametrize(
    "shard",
    ["../model.safetensors", "/etc/passwd", "sub/x", "..", ".", "", "..\\x", "C:x", "C:\\x", "two\nlines", "a\0b"],
)
def test_a_shard_outside_the_folder_is_refused(tmp_path, shard):
    message = refusal(write_index(tmp_path, {"a": shard}))
    assert "expected names of files beside it, got " in message


@pytest.mark.parametrize("weight_map", [None, [], {}, "x", {"a": 5}, {"a": None}])
def test_an_index_without_a_map_is_refused(tmp_path, weight_map):
    assert '"weight_map": expected an object of tensors and their files' in refusal(write_index(tmp_path, weight_map))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_an_index_that_is_no_object_is_refused(tmp_path, raw):
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(raw)
    refusal(index)


def test_one_whole_file_comes_before_shards(tmp_path):
    write_sharded(tmp_path)
    other = Toy(seed=3)
    other.write(tmp_path)
    assert_close(compiled(convert(tmp_path).model)([np.array([[7]])])[0][0], other.logits([7]))


@settings(max_examples=200, deadline=None)
@given(
    weight_map=st.dictionaries(
        st.sampled_from(["a", "b", "c", "two\nlines"]),
        st.sampled_from(["1", "2", "3", "../1", ""]) | st.text(max_size=3),
    ),
    held=st.dictionaries(st.sampled_from(["1", "2"]), st.sets(st.sampled_from(["a", "b", "c"])), min_size=1),
)
def test_whatever_the_index_it_is_read_right_or_refused(tmp_path_factory, weight_map, held):
    folder = tmp_path_factory.mktemp("sharded")
    for shard, names in held.items():
        write_safetensors(folder / shard, {name: ("F32", np.float32([ord(name)])) for name in names})
    index = write_index(folder, weight_map)
    agree = weight_map and all(name in held.get(shard, ()) for name, shard in weight_map.items())
    agree = agree and sum(len(held[shard]) for shard in set(weight_map.values())) == len(weight_map)
    if agree:
        read = read_sharded(index, read_tensors)
        assert {name: tensor.as_f32().tolist() for name, tensor in read.items()} == {n: [ord(n)] for n in weight_map}
    else:
        refusal(index)
