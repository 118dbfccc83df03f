"""TensorFlow's checkpoint files, written byte by byte: right ones of any content, and wrong ones to be refused.

Shares no line with the reader; that real TensorFlow writes the same is shown by tests/data/openai-tiny.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

DTYPES = {np.dtype("<f4"): 1, np.dtype("<f2"): 19, np.dtype("<u2"): 14, np.dtype("<i8"): 9}  # uint16: bits of bfloat16
MAGIC = bytes.fromhex("57fb808b247547db")


def crc32c(data: bytes) -> int:
    """Bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc // 2 ^ (0x82F63B78 if crc % 2 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def varint(value: int) -> bytes:
    low = bytes([value % 128 + (128 if value >= 128 else 0)])
    return low + varint(value // 128) if value >= 128 else low


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """Fields of numbers and of nested messages."""
    parts = []
    for tag, value in fields:
        is_number = isinstance(value, int)
        parts.append(varint(tag << 3 | (0 if is_number else 2)))
        parts.append(varint(value) if is_number else varint(len(value)) + value)
    return b"".join(parts)


def entry(array: np.ndarray, shard: int = 0, offset: int = 0, **changed) -> bytes:
    """A BundleEntryProto, right but for what is changed."""
    shape = message(*((2, message((1, size))) for size in array.shape))
    said = {
        "dtype": DTYPES[array.dtype],
        "shape": shape,
        "size": array.nbytes,
        "crc": masked(array.tobytes()),
        **changed,
    }
    fields = [(1, said["dtype"]), (2, said["shape"]), (3, shard), (4, offset), (5, said["size"])]
    return message(*fields) + b"\x35" + struct.pack("<I", said["crc"])


def table(entries: Mapping[bytes, bytes], block_entries: int = 3, restart: int = 2) -> bytes:
    """A LevelDB table of `block_entries` entries per block and a restart every `restart` entries."""
    raw, handles = b"", {}
    keys = [*entries]
    for start in range(0, len(keys), block_entries):
        chosen = keys[start : start + block_entries]
        block = framed(block_of({key: entries[key] for key in chosen}, restart))
        handles[chosen[-1]] = varint(len(raw)) + varint(len(block) - 5)
        raw += block
    ends = b""
    for block in (framed(block_of({}, 1)), framed(block_of(handles, 1))):
        ends += varint(len(raw)) + varint(len(block) - 5)
        raw += block
    return raw + ends.ljust(40, b"\0") + MAGIC


def block_of(entries: Mapping[bytes, bytes], restart: int) -> bytes:
    raw, restarts, last = b"", [], b""
    for count, (key, value) in enumerate(entries.items()):
        shared = 0
        if count % restart:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        else:
            restarts.append(len(raw))
        raw += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return raw + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def framed(block: bytes, compression: int = 0) -> bytes:
    content = block + bytes([compression])
    return content + struct.pack("<I", masked(content))


def write_bundle(prefix: Path, arrays: Mapping[str, np.ndarray], shards: int = 1, **options) -> Path:
    """Write arrays by name, dealt out to shards in turn; return the prefix."""
    data = [b""] * shards
    entries = {b"": message((1, shards), (3, message((1, 1))))}
    for count, name in enumerate(sorted(arrays, key=str.encode)):
        shard = count % shards
        entries[name.encode()] = entry(arrays[name], shard, len(data[shard]))
        data[shard] += arrays[name].tobytes()
    prefix.with_name(prefix.name + ".index").write_bytes(table(entries, **options))
    for number, content in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{shards:05d}").write_bytes(content)
    return prefix
