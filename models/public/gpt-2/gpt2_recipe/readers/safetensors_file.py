"""Map the tensors of a .safetensors file as numpy views.

The safetensors library reads and checks the header; the data comes from a memory map, because the library's
numpy reader refuses BF16 and copies what it reads.
"""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from gpt2_recipe.plain_file import require_plain_file
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.tensor import STORED_AS, StoredTensor

ITEM_BITS = {"F64": 64, "I64": 64, "U64": 64, "I32": 32, "U32": 32, "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8}
ITEM_BITS |= {name: 8 * dtype.itemsize for name, dtype in STORED_AS.items()}


def read_tensors(path: Path) -> dict[str, StoredTensor]:
    """Map a .safetensors file.

    Returns its tensors by name; of a dtype that is not in STORED_AS, the data cannot be used.
    Raises Problem if the file is missing, truncated or malformed.
    """
    require_plain_file(path)
    try:
        path.open("rb").close()  # the library reports any file that it cannot read as missing
        with safe_open(path, framework="numpy") as file:
            slices = [(name, file.get_slice(name)) for name in file.offset_keys()]
            layout = [(name, part.get_dtype(), tuple(part.get_shape())) for name, part in slices]
        # Copy on write: OpenVINO shares only writable arrays, though it does not write to them.
        mapped = np.memmap(path, dtype=np.uint8, mode="c")
    except OSError as error:
        raise Problem(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise Problem(f"{path}: is not a complete .safetensors file: {one_line(error)}; fetch it again") from None
    return _lay_out(path, mapped, layout)


def metadata_of(path: Path) -> dict[str, str]:
    """Return what a .safetensors file says of itself; nothing for one that cannot be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def _lay_out(
    path: Path, mapped: npt.NDArray[np.uint8], layout: list[tuple[str, str, tuple[int, ...]]]
) -> dict[str, StoredTensor]:
    # The library has refused overlaps, holes and a wrong file size: in the order of their offsets, the tensors are
    # contiguous to the last byte.
    start = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
    tensors = {}
    for name, dtype, shape in layout:
        if dtype not in ITEM_BITS:
            raise Problem(f'{path}: "{name}": expected a tensor of {", ".join(STORED_AS)}, got {dtype}')
        stop = start + math.prod(shape) * ITEM_BITS[dtype] // 8
        tensors[name] = StoredTensor(dtype, shape, mapped[start:stop])
        start = stop
    return tensors
