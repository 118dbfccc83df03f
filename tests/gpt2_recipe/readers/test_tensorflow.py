"""A TensorFlow checkpoint is read whole and right, or refused with one line."""

from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_recipe import Problem
from gpt2_recipe.readers.tensorflow import read_bundle
from support import DATA, tf_bundle
from support.refusal import refused
from support.tf_bundle import entry, framed, message, table, write_bundle

TINY = DATA / "openai-tiny"
ARRAYS = {
    "model/a": np.float32([[1, 2, 3], [4, 5, 6]]),
    "model/ab": np.float16([0.5, -2]),
    "model/b": np.uint16([0x4100]),  # bfloat16: 8.0
    "model/c": np.float32([[]]),
    "model/d": np.float32(9),
    "step": np.int64([7]),
}


refusal = partial(refused, Problem, read_bundle)


def replace_entries(prefix: Path, **changed: bytes | None) -> None:
    """Write the index anew, with the checksums right, where entries are others; `header` is the one of no name."""
    entries = {b"": message((1, 1), (3, message((1, 1)))), b"a": entry(np.float32([1]))}
    entries |= {(b"" if name == "header" else name.encode()): value for name, value in changed.items()}
    prefix.with_name(prefix.name + ".index").write_bytes(table(entries))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(np.float32([1]).tobytes())


@pytest.fixture(scope="module")
def maker():
    """Return the script that made the tiny checkpoint, with TensorFlow out of reach: for its formulas alone."""
    source = (TINY / "make.py").read_text(encoding="utf-8").replace("import tensorflow\n", "")
    module = ModuleType("make")
    exec(source, module.__dict__)
    return module


def test_what_tensorflow_wrote(maker):
    read = read_bundle(TINY / "model.ckpt")
    shapes = maker.shapes()
    assert read.keys() == shapes.keys() | {"model/wte/Adam", "global_step"}
    for number, name in enumerate(sorted(shapes)):
        assert read[name].dtype == "F32"
        np.testing.assert_array_equal(read[name].as_f32(), maker.values(number, shapes[name]), strict=True)
    assert not read["model/wte/Adam"].as_f32().any()
    assert (read["global_step"].dtype, read["global_step"].shape) == ("TensorFlow's type 9", ())


def test_our_own_writer_writes_what_tensorflow_wrote(maker, tmp_path):
    shapes = maker.shapes()
    arrays = {name: maker.values(number, shapes[name]) for number, name in enumerate(sorted(shapes))}
    arrays |= {"model/wte/Adam": np.zeros(shapes["model/wte"], np.float32), "global_step": np.int64(7)}
    write_bundle(tmp_path / "model.ckpt", arrays)
    name = "model.ckpt.data-00000-of-00001"
    assert (tmp_path / name).read_bytes() == (TINY / name).read_bytes()


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.parametrize("block_entries", [1, 3, 100])
@pytest.mark.parametrize("restart", [1, 3, 16])
def test_shards_blocks_and_shared_names(tmp_path, shards, block_entries, restart):
    read = read_bundle(write_bundle(tmp_path / "x", ARRAYS, shards, block_entries=block_entries, restart=restart))
    assert read.keys() == ARRAYS.keys()
    for name in ("model/a", "model/ab", "model/c", "model/d"):
        np.testing.assert_array_equal(read[name].stored(), ARRAYS[name], strict=True)
    assert (read["model/b"].dtype, read["model/b"].as_f32().tolist()) == ("BF16", [8])


def test_a_file_cut_anywhere_is_refused(tmp_path):
    prefix = write_bundle(tmp_path / "x", ARRAYS)
    for name, unused in (("x.index", 0), ("x.data-00000-of-00001", ARRAYS["step"].nbytes)):
        whole = (tmp_path / name).read_bytes()
        for length in range(len(whole) - unused):
            (tmp_path / name).write_bytes(whole[:length])
            refusal(prefix)
        (tmp_path / name).write_bytes(whole)
    assert read_bundle(prefix)


def test_every_changed_byte_of_the_data_is_noticed(tmp_path):
    prefix = write_bundle(tmp_path / "x", {"model/a": np.float32([1, 2, 3])})
    path = tmp_path / "x.data-00000-of-00001"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert "model/a: checksum mismatch" in refusal(prefix)


@pytest.mark.parametrize("name", ["x.index", "x.data-00000-of-00001"])
def test_a_missing_file_is_named(tmp_path, name):
    prefix = write_bundle(tmp_path / "x", ARRAYS)
    (tmp_path / name).unlink()
    assert refusal(prefix) == f"{tmp_path / name}: cannot be read: No such file or directory"


ONE = np.float32([1])
SHAPE = message((2, message((1, 1))))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"header": message((1, 1), (2, 1))}, "big-endian"),
        ({"header": message()}, "in file 0 of 0"),
        ({"a": entry(ONE, shard=3)}, "in file 3 of 1"),
        ({"a": entry(ONE, offset=4)}, "expected at least 8 bytes, got 4"),
        ({"a": entry(ONE, offset=2**62)}, "expected at least"),
        ({"a": entry(ONE, size=8)}, "has the shape [1] and 8 bytes"),
        ({"a": entry(ONE, crc=5)}, "checksum mismatch"),
        ({"a": entry(ONE, shape=message((2, message((1, 2**64 - 1)))))}, "field 1 is no natural number"),
        ({"a": entry(ONE, shape=message((2, message((1, 2**62))), (2, message((1, 2**62)))))}, "has the shape"),
        ({"a": entry(ONE, shape=message((2, 5)))}, "a message is a number"),
        ({"a": entry(ONE) + message((7, b""))}, "stored in slices"),
        ({"a": entry(ONE)[:-1]}, "a message ends early"),
        ({"a": entry(ONE) + b"\x0b"}, "a message ends early"),  # a group, which no version writes
        ({"a": b"\x80"}, "a number ends early"),
        ({"a": b"\xff" * 11}, "a number ends early"),
    ],
)
def test_an_entry_that_lies_is_refused(tmp_path, changed, words):
    replace_entries(tmp_path / "x", **changed)
    assert words in refusal(tmp_path / "x")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "it lacks the end of a table"),
        (bytes(48), "it lacks the end of a table"),
        (bytes(40) + tf_bundle.MAGIC, "a block"),
        (b"\xff" * 40 + tf_bundle.MAGIC, "a number ends early"),
        (table({b"b": entry(ONE), b"a": entry(ONE)}), "its names are not in order"),
        (table({b"": message((1, 1)), b"\xff": entry(ONE)}), "a name is not UTF-8"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, raw, words):
    replace_entries(tmp_path / "x")
    (tmp_path / "x.index").write_bytes(raw)
    assert words in refusal(tmp_path / "x")


def test_a_compressed_block_is_refused(tmp_path):
    block = framed(tf_bundle.block_of({}, 1), compression=1)
    handle = b"\0" + tf_bundle.varint(len(block) - 5)
    (tmp_path / "x.index").write_bytes(block + (handle * 2).ljust(40, b"\0") + tf_bundle.MAGIC)
    assert "compressed" in refusal(tmp_path / "x")


@settings(max_examples=300, deadline=None)
@given(
    values=st.dictionaries(st.sampled_from(["", "a", "ab"]), st.binary(max_size=40), max_size=3), cut=st.integers(0, 60)
)
def test_whatever_the_entries_they_are_read_or_refused(tmp_path_factory, values, cut):
    """The checksums of the blocks are right, so that the code after their check is reached."""
    prefix = tmp_path_factory.getbasetemp() / "fuzzed"
    entries = {b"": message((1, 1)), b"a": entry(ONE), **{name.encode(): value for name, value in values.items()}}
    block = tf_bundle.block_of(dict(sorted(entries.items())), 2)
    first = framed(block[cut:] if cut < 8 else block[:-cut])
    handle = b"\0" + tf_bundle.varint(len(first) - 5)
    second = framed(tf_bundle.block_of({b"z": handle}, 1))
    ends = (b"\0\0" + tf_bundle.varint(len(first)) + tf_bundle.varint(len(second) - 5)).ljust(40, b"\0")
    prefix.with_name("fuzzed.index").write_bytes(first + second + ends + tf_bundle.MAGIC)
    prefix.with_name("fuzzed.data-00000-of-00001").write_bytes(ONE.tobytes())
    try:
        read = read_bundle(prefix)
    except Problem as problem:
        assert "\n" not in str(problem)  # noqa: PT017
    else:
        assert all(tensor.dtype != "F32" or tensor.as_f32().shape == tensor.shape for tensor in read.values())


@settings(max_examples=100, deadline=None)
@given(
    arrays=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6).map(lambda s: "m" + s),
        st.lists(st.floats(width=32), max_size=5).map(np.float32),
        max_size=6,
    ),
    shards=st.integers(1, 3),
)
def test_any_names_and_values_come_back(tmp_path_factory, arrays, shards):
    arrays = dict(sorted(arrays.items(), key=lambda item: item[0].encode()))
    read = read_bundle(write_bundle(tmp_path_factory.getbasetemp() / "any", arrays, shards))
    assert {name: tensor.data.tobytes() for name, tensor in read.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
