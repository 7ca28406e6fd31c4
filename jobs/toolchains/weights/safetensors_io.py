"""Reading and writing safetensors files, with the consistency checks no library makes.

Format: u64 little-endian header length, JSON header, data; offsets count from the end of the header.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anneal_job.failures import JobFailure
from toolchains.weights.number_formats import STORAGE_DTYPES

_MAX_HEADER_BYTES = 25_000_000
_ADVICE = "The file is damaged or incomplete. Delete the stage's output and run the stage again."


@dataclass(frozen=True)
class TensorEntry:
    """One tensor in a header: safetensors dtype, shape, and its span in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header; `data_start` is the file position of offset 0, `raw` the header's own bytes."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    data_start: int
    raw: bytes


@dataclass(frozen=True)
class Tensor:
    """Stored numbers with their safetensors dtype."""

    dtype: str
    data: NDArray[np.generic]


def _damaged(path: Path, problem: str) -> JobFailure:
    return JobFailure("DamagedWeights", f"{path.name}: {problem}", _ADVICE)


def read_header(path: Path) -> Header:
    """Reads and checks the header: spans contiguous from 0, equal to shape times width, ending with the file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise _damaged(path, "this is a Git LFS pointer, not weights")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 1 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            raise _damaged(path, "the header length is impossible")
        raw = stream.read(length)
    try:
        value: dict[str, Any] = json.loads(raw)
        metadata = value.pop("__metadata__", {})
        tensors = {
            name: TensorEntry(entry["dtype"], tuple(entry["shape"]), entry["data_offsets"][0], entry["data_offsets"][1])
            for name, entry in value.items()
        }
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _damaged(path, f"the header does not parse ({error})") from None
    position = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.dtype not in STORAGE_DTYPES:
            raise _damaged(path, f"{name} has the unsupported dtype {entry.dtype}")
        width = math.prod(entry.shape) * STORAGE_DTYPES[entry.dtype].itemsize
        if entry.begin != position or entry.end - entry.begin != width:
            raise _damaged(path, f"{name} spans {entry.begin}..{entry.end}, expected {width} bytes from {position}")
        position = entry.end
    if 8 + length + position != size:
        raise _damaged(path, f"{size} bytes long, but its header describes {8 + length + position}")
    return Header(tensors, metadata, 8 + length, raw)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one file in the header's order; memory of one file."""
    header = read_header(path)
    data = np.fromfile(path, dtype=np.uint8, offset=header.data_start)
    return {
        name: Tensor(entry.dtype, data[entry.begin : entry.end].view(STORAGE_DTYPES[entry.dtype]).reshape(entry.shape))
        for name, entry in header.tensors.items()
    }


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a file in the mapping's order: to `.part`, fsync, rename. The same input gives the same bytes."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name, tensor in tensors.items():
        width = tensor.data.size * STORAGE_DTYPES[tensor.dtype].itemsize
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.data.shape), "data_offsets": [position, position + width]}
        position += width
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # keeps the data aligned to 8 bytes, as the reference writer does
    part = path.with_name(path.name + ".part")
    with part.open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        for tensor in tensors.values():
            stream.write(np.ascontiguousarray(tensor.data, dtype=STORAGE_DTYPES[tensor.dtype]).tobytes())
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
