"""4-bit group quantization in the `compressed-tensors` `pack-quantized` layout (asymmetric, W4A16_ASYM).

Layout facts (compressed-tensors 0.17.0): codes are signed, -8..7, stored with offset 8 as eight 4-bit values per int32,
lowest bits first. Weights are packed along the input axis, zero points along the output axis. A weight is
`(code - zero_point) * scale` of its group.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolchains.weights.number_formats import Float32, bfloat16_bits, from_float32, to_float32
from toolchains.weights.safetensors_io import Tensor

BITS = 4
CODE_MIN, CODE_MAX = -8, 7
_PER_WORD = 32 // BITS


def pack_rows(codes: NDArray[np.int8]) -> NDArray[np.int32]:
    """Codes of shape (rows, columns) to words of shape (rows, ceil(columns / 8)); unused high bits are zero."""
    rows, columns = codes.shape
    padded = np.zeros((rows, -(-columns // _PER_WORD) * _PER_WORD), dtype=np.uint32)
    padded[:, :columns] = (codes.astype(np.int32) - CODE_MIN).astype(np.uint32)
    shifts = (np.arange(_PER_WORD) * BITS).astype(np.uint32)
    words = np.bitwise_or.reduce(padded.reshape(rows, -1, _PER_WORD) << shifts, axis=2)
    return np.asarray(words.astype(np.uint32).view(np.int32), dtype=np.int32)


def unpack_rows(words: NDArray[np.int32], columns: int) -> NDArray[np.int8]:
    """The inverse of `pack_rows` for a known number of columns."""
    shifts = (np.arange(_PER_WORD) * BITS).astype(np.uint32)
    codes = (np.ascontiguousarray(words).view(np.uint32)[:, :, None] >> shifts) & np.uint32(0xF)
    signed = codes.reshape(words.shape[0], -1)[:, :columns].astype(np.int32) + CODE_MIN
    return np.asarray(signed, dtype=np.int8)


def quantize(weight: Float32, group_size: int, scale_dtype: str) -> dict[str, Tensor]:
    """Rounds a (rows, columns) matrix to 4 bits; `group_size` must divide columns. Keys are parameter suffixes.

    Every weight ends within half a step of its group: the scale is (max - min) / 15 with 0 inside the range, rounded to
    `scale_dtype`, then raised by single steps of that format until all 16 codes suffice without clipping.
    """
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // group_size, group_size)
    low = np.minimum(groups.min(axis=2), 0).astype(np.float32)
    high = np.maximum(groups.max(axis=2), 0).astype(np.float32)
    smallest = np.float32(2.0**-14)  # the smallest normal float16, so that the scale never becomes zero
    scale = to_float32(from_float32(np.maximum((high - low) / 15, smallest), scale_dtype), scale_dtype)
    while True:
        clipped = np.rint(high / scale) - np.rint(low / scale) > CODE_MAX - CODE_MIN
        if not clipped.any():
            break
        step = np.float32(1 + 2.0 ** (-7 if scale_dtype == "BF16" else -10))
        raised = to_float32(from_float32(scale * step, scale_dtype), scale_dtype)
        scale = np.where(clipped, raised, scale).astype(np.float32)
    zero_point = (CODE_MIN - np.rint(low / scale)).astype(np.int8)
    codes = np.rint(groups / scale[:, :, None]) + zero_point[:, :, None]
    codes_int8 = np.clip(codes, CODE_MIN, CODE_MAX).astype(np.int8).reshape(rows, columns)
    return {
        "weight_packed": Tensor("I32", pack_rows(codes_int8)),
        "weight_scale": Tensor(scale_dtype, bfloat16_bits(scale) if scale_dtype == "BF16" else from_float32(scale, scale_dtype)),
        "weight_zero_point": Tensor("I32", np.ascontiguousarray(pack_rows(np.ascontiguousarray(zero_point.T)).T)),
        "weight_shape": Tensor("I64", np.array([rows, columns], dtype=np.int64)),
    }


def fits(packed: Tensor, scale: Tensor, zero_point: Tensor, shape: Tensor) -> bool:
    """True when the shapes of the four parameters describe one matrix."""
    if shape.data.shape != (2,) or packed.data.ndim != 2 or scale.data.ndim != 2:
        return False
    rows, columns = (int(n) for n in shape.data.tolist())
    groups = scale.data.shape[1]
    return (
        packed.data.shape == (rows, -(-columns // _PER_WORD))
        and scale.data.shape[0] == rows
        and groups > 0
        and columns % groups == 0
        and zero_point.data.shape == (-(-rows // _PER_WORD), groups)
    )


def dequantize(packed: Tensor, scale: Tensor, zero_point: Tensor, shape: Tensor) -> Float32:
    """The float32 matrix that the four parameters stand for."""
    rows, columns = (int(n) for n in shape.data.tolist())
    scales = to_float32(scale.data, scale.dtype)
    codes = unpack_rows(packed.data.astype(np.int32), columns)
    zeros = unpack_rows(np.ascontiguousarray(zero_point.data.astype(np.int32).T), rows).T
    grouped = codes.reshape(rows, scales.shape[1], -1).astype(np.float32) - zeros[:, :, None].astype(np.float32)
    return np.asarray((grouped * scales[:, :, None]).reshape(rows, columns), dtype=np.float32)
