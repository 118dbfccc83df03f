"""A .safetensors file is read whole and right, or refused with one line."""

import json
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_recipe import Problem
from gpt2_recipe.readers.safetensors_file import read_tensors
from support.refusal import refused
from support.toy import rounded, safetensors_bytes, stored, write_safetensors


def entry(start: int, stop: int, shape=(1,), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


refusal = partial(refused, Problem, read_tensors)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_each_dtype_gives_back_its_values(tmp_path, dtype):
    rng = np.random.default_rng(5)
    values = {
        name: rounded(rng.normal(size=shape), dtype) for name, shape in {"a": (3, 5), "b": (), "c": (0, 4)}.items()
    }
    path = write_safetensors(tmp_path / "x", {name: (dtype, stored(v, dtype)) for name, v in values.items()})
    read = read_tensors(path)
    assert read.keys() == values.keys()
    for name, expected in values.items():
        assert (read[name].dtype, read[name].shape) == (dtype, expected.shape)
        got = read[name].as_f32()
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected, strict=True)


def test_every_bf16_pattern_is_widened_bit_for_bit(tmp_path):
    bits = np.arange(65536, dtype="<u2")
    got = read_tensors(write_safetensors(tmp_path / "x", {"a": ("BF16", bits)}))["a"].as_f32()
    np.testing.assert_array_equal(got.view(np.uint32), np.arange(65536, dtype=np.uint32) << 16)


def test_f32_is_a_view_of_the_file_and_never_writes_to_it(tmp_path):
    path = write_safetensors(tmp_path / "x", {"a": ("F32", np.ones(4, "<f4"))})
    before = path.read_bytes()
    read = read_tensors(path)["a"]
    got = read.as_f32()
    assert np.shares_memory(got, read.data)
    got[:] = 7
    assert path.read_bytes() == before


def test_the_order_of_the_header_is_not_the_order_of_the_data(tmp_path):
    header = {"late": entry(4, 8), "__metadata__": {"format": "pt"}, "early": entry(0, 4)}
    path = tmp_path / "x"
    path.write_bytes(safetensors_bytes(json.dumps(header).encode(), struct.pack("<ff", 1, 2)))
    read = read_tensors(path)
    assert {name: tensor.as_f32().item() for name, tensor in read.items()} == {"early": 1, "late": 2}


def test_empty_tensors_between_others_shift_nothing(tmp_path):
    tensors = {"a": np.float32([1]), "none": np.zeros((0, 3), "<f4"), "b": np.float32([2]), "nil": np.zeros(0, "<f4")}
    read = read_tensors(write_safetensors(tmp_path / "x", {name: ("F32", v) for name, v in tensors.items()}))
    for name, expected in tensors.items():
        np.testing.assert_array_equal(read[name].as_f32(), expected, strict=True)


@pytest.mark.parametrize("padding", range(8))
def test_data_at_any_alignment_is_read(tmp_path, padding):
    header = json.dumps({"a": entry(0, 2, dtype="F16"), "b": entry(2, 10, (2,))}).encode() + b" " * padding
    path = tmp_path / "x"
    path.write_bytes(safetensors_bytes(header, struct.pack("<eff", 0.5, 1.5, -2.5)))
    read = read_tensors(path)
    assert read["a"].as_f32().tolist() == [0.5]
    assert read["b"].as_f32().tolist() == [1.5, -2.5]


def test_other_known_dtypes_keep_their_names_and_move_nothing(tmp_path):
    tensors = {"mask": ("BOOL", np.ones((2, 2), bool)), "ids": ("I64", np.arange(3)), "a": ("F32", np.float32([9]))}
    read = read_tensors(write_safetensors(tmp_path / "x", tensors))
    assert {name: tensor.dtype for name, tensor in read.items()} == {"mask": "BOOL", "ids": "I64", "a": "F32"}
    assert read["a"].as_f32().tolist() == [9]


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_a_dtype_that_is_not_known_is_refused_by_name(tmp_path, dtype):
    path = write_safetensors(tmp_path / "x", {"odd": (dtype, np.zeros(4, np.uint8))})
    message = refusal(path)
    assert '"odd"' in message
    assert dtype in message


WHOLE = safetensors_bytes(json.dumps({"a": entry(0, 4), "b": entry(4, 8)}).encode(), struct.pack("<ff", 1, 2))


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_file_cut_anywhere_is_refused(tmp_path, length):
    path = tmp_path / "x"
    path.write_bytes(WHOLE[:length])
    refusal(path)


def test_a_byte_too_many_is_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(WHOLE + b"\0")
    refusal(path)


@pytest.mark.parametrize("claimed", [len(WHOLE), 10**6, 100_000_001, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused(tmp_path, claimed):
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", claimed) + WHOLE[8:])
    refusal(path)


@pytest.mark.parametrize("size", [100_000_000, 100_000_001])
def test_a_header_of_100_mb_is_refused(tmp_path, size):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", size) + b'{"a":')
        file.truncate(8 + size + 4)
    refusal(path)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b'{"a": 5}',
        b'{"a": ',
        b"\xff\xff\xff\xff",
        b"[" * 100_000,
        *(
            json.dumps(fields).encode()
            for fields in [
                {"a": entry(0, 4), "b": entry(0, 4)},  # overlapping, a hole at the end
                {"a": entry(0, 8, (2,)), "b": entry(4, 8)},  # overlapping
                {"a": entry(0, 4)},  # a hole at the end
                {"b": entry(4, 8)},  # a hole at the start
                {"a": entry(-4, 0), "b": entry(0, 8, (2,))},
                {"a": entry(8, 0, (2,))},
                {"a": entry(0, 8, (3,))},
                {"a": entry(0, 8, (-2,))},
                {"a": entry(0, 8, (2.0,))},
                {"a": entry(0, 8, (2**63, 2))},
                {"a": entry(0, 8, (2**32, 2**32))},
                {"a": entry(0, 2**64)},
                {"a": entry(0, 8, (2,), "F31")},
                {"a": entry(0, 8, (2,), "")},
                {"a": {"dtype": "F32", "shape": [2]}},
                {"a": {"shape": [2], "data_offsets": [0, 8]}},
                {"a": {"dtype": "F32", "data_offsets": [0, 8]}},
                {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}},
                {"a": {"dtype": 32, "shape": [2], "data_offsets": [0, 8]}},
                {"__metadata__": {"format": 5}, "a": entry(0, 8, (2,))},
            ]
        ),
    ],
    ids=lambda header: header[:60].decode(errors="replace"),
)
def test_a_header_that_lies_is_refused(tmp_path, header):
    path = tmp_path / "x"
    path.write_bytes(safetensors_bytes(header, bytes(8)))
    refusal(path)


def test_a_line_break_in_the_header_does_not_break_the_line(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(safetensors_bytes(json.dumps({"a": entry(0, 8, (2,), "F\n32")}).encode(), bytes(8)))
    refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "cannot be read" in refusal(tmp_path / "missing")
    refusal(tmp_path)


VALUES = {"a": ("F32", np.float32([[1, 2], [3, 4]])), "b": ("F16", np.float16([5])), "c": ("BF16", np.uint16([0x4100]))}
"""Of a small file that hypothesis mutates."""


def small_file(path: Path) -> bytes:
    return write_safetensors(path, VALUES).read_bytes()


@st.composite
def mutations(draw) -> list[tuple[str, float, bytes]]:
    kinds = st.sampled_from(["overwrite", "insert", "cut"])
    return draw(st.lists(st.tuples(kinds, st.floats(0, 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4))


def mutated(raw: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, what in changes:
        at = int(where * len(raw))
        end = at + {"overwrite": len(what), "insert": 0, "cut": 2 * len(what)}[kind]
        raw = raw[:at] + (b"" if kind == "cut" else what) + raw[end:]
    return raw


def parsed_by_hand(raw: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """What the header says, without any check."""
    length = int.from_bytes(raw[:8], "little")
    data = raw[8 + length :]
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    return {
        name: (field["dtype"], tuple(field["shape"]), data[slice(*field["data_offsets"])])
        for name, field in header.items()
    }


def check_read_or_refused(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    try:
        tensors = read_tensors(path)
    except Problem as problem:
        assert "\n" not in str(problem)  # noqa: PT017
        return
    assert {name: (t.dtype, t.shape, t.data.tobytes()) for name, t in tensors.items()} == parsed_by_hand(raw)
    for tensor in tensors.values():
        if tensor.dtype in ("F32", "F16", "BF16"):
            assert tensor.as_f32().shape == tensor.shape


@settings(max_examples=300, deadline=None)
@given(changes=mutations())
def test_whatever_the_bytes_they_are_read_right_or_refused(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    check_read_or_refused(path, mutated(small_file(path), changes))


FIELDS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "BOOL", "I64", "U8", "F64", "F8_E4M3", "F4", "X"]),
        "shape": st.lists(st.integers(-1, 5), max_size=3),
        "data_offsets": st.tuples(st.integers(-2, 40), st.integers(-2, 40)),
    }
)


@settings(max_examples=300, deadline=None)
@given(header=st.dictionaries(st.sampled_from(["a", "b", "c"]), FIELDS), size=st.integers(0, 40), chain=st.booleans())
def test_whatever_the_header_it_is_read_right_or_refused(tmp_path_factory, header, size, chain):
    end = 0
    for field in header.values() if chain else ():  # offsets that fit each other, so that some files are whole
        items = int(np.prod(field["shape"])) if min(field["shape"], default=0) >= 0 else 1
        width = {"F16": 2, "BF16": 2, "BOOL": 1, "U8": 1, "I64": 8, "F64": 8, "F8_E4M3": 1}.get(field["dtype"], 4)
        field["data_offsets"] = (end, end + items * width)
        end += items * width
    raw = safetensors_bytes(
        json.dumps(header).encode(), bytes(range(end % 251)) + bytes(end - end % 251) if chain else bytes(size)
    )
    check_read_or_refused(tmp_path_factory.getbasetemp() / "header.safetensors", raw)
