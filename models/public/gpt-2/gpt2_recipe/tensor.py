"""A stored tensor: dtype, shape and bytes, a view of the mapped file; read as it is stored, or widened to f32."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

STORED_AS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""dtype of the file -> what its bytes are mapped as."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor where it lies in the file: `dtype` as the file names it, `data` the mapped bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: npt.NDArray[np.uint8]  # [bytes], a view of the map

    def stored(self) -> npt.NDArray[Any]:  # -> [*shape]
        """Return the values as they are stored, without a copy; BF16 as its bits, uint16."""
        values: npt.NDArray[Any] = self.data.view(STORED_AS[self.dtype])
        return values.reshape(self.shape)

    def as_f32(self) -> npt.NDArray[np.float32]:  # -> [*shape]
        """Return the values in f32: a view when they are stored so, a widened copy otherwise."""
        values = self.stored()
        if self.dtype == "BF16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32, copy=False)


def tensor_of(values: npt.NDArray[Any]) -> StoredTensor:  # [*shape] -> F32 [*shape]
    """Return computed values as a tensor; f32 ones in C order are not copied."""
    data = np.ascontiguousarray(values, np.float32).reshape(values.shape)  # which makes [1] of a scalar
    return StoredTensor("F32", values.shape, data.reshape(-1).view(np.uint8))
