"""The number formats of weight files, as numpy sees them. numpy has no bfloat16, so its bits travel as uint16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

STORAGE_DTYPES: dict[str, np.dtype[np.generic]] = {
    "BF16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
    "F8_E4M3": np.dtype("u1"),
    "F8_E5M2": np.dtype("u1"),
}
"""safetensors dtype name to the numpy dtype that holds its bits."""


def bfloat16_bits(values: Float32) -> NDArray[np.uint16]:
    """Rounds float32 to bfloat16 bits, ties to even (IEEE 754); values must be finite."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def to_float32(data: NDArray[np.generic], dtype: str) -> Float32:
    """The stored numbers of a floating format as float32; exact for every format."""
    if dtype == "BF16":
        return (data.astype(np.uint32) << 16).view(np.float32)
    if dtype in ("F16", "F32"):
        return data.astype(np.float32)
    raise ValueError(f"{dtype} is not a floating format")


def from_float32(values: Float32, dtype: str) -> NDArray[np.generic]:
    """float32 rounded to the storage of `dtype`."""
    if dtype == "BF16":
        return bfloat16_bits(values)
    if dtype in ("F16", "F32"):
        return values.astype(STORAGE_DTYPES[dtype])
    raise ValueError(f"{dtype} is not a floating format")
