"""Map the tensors of a TensorFlow checkpoint, PREFIX.index and PREFIX.data-*, without TensorFlow.

The index is a LevelDB table of name -> BundleEntryProto, each block with its CRC-32C; the data is raw, little-endian.
After tensorflow/core/util/tensor_bundle, tensorflow/core/protobuf/tensor_bundle.proto, leveldb/doc/table_format.md.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt2_recipe.plain_file import require_plain_file
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.readers.crc32c import masked_crc32c
from gpt2_recipe.tensor import STORED_AS, StoredTensor

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
DTYPES = {1: "F32", 19: "F16", 14: "BF16"}
"""DataType of types.proto -> dtype of StoredTensor."""
LITTLE = 0

Bytes = npt.NDArray[np.uint8]


class _Damaged(Exception):
    """The index is damaged; the text says how, without the path."""


@dataclass
class _Message:
    """A protobuf message: the values of its fields, in order, by field number."""

    fields: dict[int, list[Any]] = field(default_factory=dict)

    def number(self, tag: int, default: int = 0) -> int:
        value = self.fields.get(tag, [default])[-1]
        if not isinstance(value, int) or value >= 1 << 63:  # a negative int64
            raise _Damaged(f"field {tag} is no natural number")
        return value

    def messages(self, tag: int) -> list["_Message"]:
        return [_message(value) for value in self.fields.get(tag, [])]


def read_bundle(prefix: Path) -> dict[str, StoredTensor]:
    """Map a checkpoint and verify the checksum of every tensor that can be used.

    prefix: the path without `.index`. A tensor of another dtype than F32, F16, BF16 comes without data.
    Raises Problem if a file is missing or damaged, or the checkpoint has an unsupported form.
    """
    index = prefix.with_name(prefix.name + ".index")
    require_plain_file(index)
    try:
        entries = dict(_table(index.read_bytes()))
        header = _message(entries.pop(b"", b""))
        if header.number(2) != LITTLE:
            raise _Damaged("its data is big-endian, which is not supported")
        count = header.number(1)
        shards: dict[int, Bytes] = {}
        return {_text(key): _tensor(prefix, count, shards, key, value) for key, value in entries.items()}
    except OSError as error:
        raise Problem(f"{error.filename or index}: cannot be read: {error.strerror or one_line(error)}") from None
    except _Damaged as damage:
        raise Problem(f"{index}: is not a complete TensorFlow checkpoint: {damage}; fetch it again") from None


def _tensor(prefix: Path, count: int, shards: dict[int, Bytes], key: bytes, value: bytes) -> StoredTensor:
    name, entry = one_line(_text(key)), _message(value)
    if 7 in entry.fields:
        raise _Damaged(f"{name} is stored in slices, which are not supported")
    shape = tuple(size.number(1) for shape in entry.messages(2) for size in shape.messages(2))
    dtype = DTYPES.get(entry.number(1))
    if dtype is None:
        return StoredTensor(f"TensorFlow's type {entry.number(1)}", shape, np.empty(0, np.uint8))
    number, offset, size = entry.number(3), entry.number(4), entry.number(5)
    if size != math.prod(shape) * STORED_AS[dtype].itemsize or number >= count:
        raise _Damaged(f"{name} has the shape {list(shape)} and {size} bytes in file {number} of {count}")
    path = prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{count:05d}")
    if number not in shards:
        shards[number] = _mapped(path)
    if offset + size > len(shards[number]):
        raise Problem(
            f"{path}: expected at least {offset + size} bytes, got {len(shards[number])}; fetch the file again"
        )
    data = shards[number][offset : offset + size]
    if masked_crc32c(data) != entry.number(6):
        raise Problem(f"{path}: {name}: checksum mismatch; fetch the file again")
    return StoredTensor(dtype, shape, data)


def _mapped(path: Path) -> Bytes:
    require_plain_file(path)
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.empty(0, np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="c")


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise _Damaged("a name is not UTF-8") from None


def _table(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a LevelDB table, in their order."""
    if len(raw) < FOOTER or int.from_bytes(raw[-8:], "little") != MAGIC:
        raise _Damaged("it lacks the end of a table")
    footer = raw[-FOOTER:]
    *_, at = _two_varints(footer, 0)  # the metaindex, which is not needed
    start, size, _ = _two_varints(footer, at)
    last = None
    for _, handle in _entries(_block(raw, start, size)):
        start, size, _ = _two_varints(handle, 0)
        for key, value in _entries(_block(raw, start, size)):
            if last is not None and key <= last:
                raise _Damaged("its names are not in order")
            yield key, value
            last = key


def _block(raw: bytes, start: int, size: int) -> bytes:
    """Return the content of a block, which its compression type and its checksum follow."""
    trailer = start + size + 1
    if trailer + 4 > len(raw):
        raise _Damaged("a block ends after the end of the file")
    stored = int.from_bytes(raw[trailer : trailer + 4], "little")
    if masked_crc32c(np.frombuffer(raw, np.uint8, size + 1, start)) != stored:
        raise _Damaged("checksum mismatch of a block")
    if raw[start + size] != 0:
        raise _Damaged("a block is compressed, which TensorFlow does not do")
    return raw[start : start + size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block; each key begins with `shared` bytes of the one before it."""
    if len(block) < 4:
        raise _Damaged("a block is too short")
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")  # of the entries, before the restarts
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        added, length, at = _two_varints(block, at)
        if shared > len(key) or at + added + length > end:
            raise _Damaged("an entry ends after the end of its block")
        key = key[:shared] + block[at : at + added]
        at += added + length
        yield key, block[at - length : at]
    if at != end:
        raise _Damaged("a block ends early")


def _message(raw: Any) -> _Message:
    """Split a protobuf message into its fields."""
    if not isinstance(raw, bytes):
        raise _Damaged("a message is a number")
    message, at = _Message(), 0
    while at < len(raw):
        key, at = _varint(raw, at)
        tag, kind = key >> 3, key & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(raw, at)
        else:
            size, at = _varint(raw, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, len(raw) + 1), at)
            if at + size > len(raw):
                raise _Damaged("a message ends early")
            part, at = raw[at : at + size], at + size
            value = part if kind == 2 else int.from_bytes(part, "little")
        message.fields.setdefault(tag, []).append(value)
    return message


def _two_varints(raw: bytes, at: int) -> tuple[int, int, int]:  # -> first, second, where they end
    first, at = _varint(raw, at)
    second, at = _varint(raw, at)
    return first, second, at


def _varint(raw: bytes, at: int) -> tuple[int, int]:  # -> value, where it ends
    value = 0
    for count, byte in enumerate(raw[at : at + 10]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise _Damaged("a number ends early")
