"""Turns the merged model into the release: packed to 4 bits, or as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from anneal_job import atomic
from anneal_job.atomic import sync_folder
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import list_files
from toolchains.rehearsal import int4_packing
from toolchains.weights import checkpoint
from toolchains.weights.number_formats import to_float32
from toolchains.weights.release_folder import publish_folder, total_bytes
from toolchains.weights.safetensors_io import Header, Tensor, read_header, read_tensors, write_tensors

GROUP_SIZES = (128, 64, 32)
IGNORED = ("lm_head",)
COMPRESSED_TENSORS_VERSION = "0.17.0"
_FLOATS = ("BF16", "F16")


def run(context: JobContext) -> dict[str, Any]:
    """Makes work/release from work/merged. Params: `method` (`awq` or `none`), `groupSize`.

    Deterministic: the same merged model gives the same bytes. Output goes to a temporary folder and is renamed, so an
    interrupted run leaves nothing that looks finished; a repeated one replaces the release. Result `format` is
    `pack-quantized`, or `none` with `groupSize` 0.
    """
    paths = context.paths
    method = context.param("method", str, "awq")
    if method not in ("awq", "none"):
        raise JobFailure("BadInput", f"unknown method {method!r}", "Use `awq` or `none`.")
    headers = checkpoint.check(paths.merged)
    merged_bytes = total_bytes(paths.merged)
    if method == "none":
        publish_folder(paths.merged, paths.release)
        dtype = next(entry.dtype for header in headers.values() for entry in header.tensors.values())
        bits = {"BF16": 16, "F16": 16, "F32": 32}[dtype]
        return {
            "format": "none",
            "bits": bits,
            "groupSize": 0,
            "releaseBytes": total_bytes(paths.release),
            "compression": 1.0,
        }
    group_size = fitting_group_size(headers, context.param("groupSize", int, 128))
    temporary = paths.work / "quantized.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _write_quantized(context, headers, temporary, group_size)
    with checkpoint.made_here(temporary):
        checkpoint.check(temporary)
    shutil.rmtree(paths.quantized, ignore_errors=True)
    temporary.rename(paths.quantized)
    sync_folder(paths.work)
    publish_folder(paths.quantized, paths.release)
    release_bytes = total_bytes(paths.release)
    return {
        "format": "pack-quantized",
        "bits": int4_packing.BITS,
        "groupSize": group_size,
        "releaseBytes": release_bytes,
        "compression": round(merged_bytes / release_bytes, 4),
    }


def is_quantized(name: str, shape: tuple[int, ...]) -> bool:
    """True for the linear layers of the decoder: two-dimensional, not the embedding, not ignored."""
    module = name.removesuffix(".weight")
    return len(shape) == 2 and name.endswith("_proj.weight") and module not in IGNORED


def fitting_group_size(headers: dict[str, Header], wanted: int) -> int:
    """The largest of 128, 64, 32 that is not above `wanted` and divides the input width of every quantized layer."""
    widths = {e.shape[1] for header in headers.values() for name, e in header.tensors.items() if is_quantized(name, e.shape)}
    if not widths:
        raise JobFailure("UnsupportedModel", "the model has no linear layers to quantize", "Use `quantize: none`.")
    for size in GROUP_SIZES:
        if size <= wanted and all(width % size == 0 for width in widths):
            return size
    raise JobFailure(
        "GroupSizeMismatch", f"no group size up to {wanted} divides the widths {sorted(widths)}", "Use `quantize: none`."
    )


def quantization_config(group_size: int) -> dict[str, Any]:
    """The `quantization_config` of config.json as compressed-tensors 0.17 writes it for W4A16_ASYM."""
    weights: dict[str, Any] = {
        "actorder": None,
        "block_structure": None,
        "dynamic": False,
        "group_size": group_size,
        "num_bits": int4_packing.BITS,
        "observer": "minmax",
        "observer_kwargs": {},
        "scale_dtype": None,
        "strategy": "group",
        "symmetric": False,
        "type": "int",
        "zp_dtype": "torch.int8",
    }
    group = {
        "format": "pack-quantized",
        "input_activations": None,
        "output_activations": None,
        "targets": ["Linear"],
        "weights": weights,
    }
    return {
        "config_groups": {"group_0": group},
        "format": "pack-quantized",
        "global_compression_ratio": None,
        "ignore": list(IGNORED),
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "version": COMPRESSED_TENSORS_VERSION,
    }


def _write_quantized(context: JobContext, headers: dict[str, Header], out: Path, group_size: int) -> None:
    source = context.paths.merged
    weight_map: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(sorted(headers), start=1):
        context.check_stop()
        tensors: dict[str, Tensor] = {}
        for name, tensor in read_tensors(source / shard).items():
            if not is_quantized(name, tensor.data.shape):
                tensors[name] = tensor
                continue
            if tensor.dtype not in _FLOATS:
                raise JobFailure("UnsupportedModel", f"{name} is {tensor.dtype}; 16-bit weights are needed", "Use a 16-bit base.")
            packed = int4_packing.quantize(to_float32(tensor.data, tensor.dtype), group_size, tensor.dtype)
            tensors |= {f"{name.removesuffix('.weight')}.{key}": value for key, value in packed.items()}
        write_tensors(out / shard, tensors, read_header(source / shard).metadata)
        weight_map |= dict.fromkeys(tensors, shard)
        total += sum(tensor.data.nbytes for tensor in tensors.values())
        context.events.progress("quantize", number, len(headers), "shards")
    for path in list_files(source):
        if path not in headers and path not in ("config.json", checkpoint.INDEX_NAME):
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, out / path)
    config = checkpoint.read_object(source / "config.json")
    atomic.write_json(out / "config.json", config | {"quantization_config": quantization_config(group_size)})
    if (source / checkpoint.INDEX_NAME).exists():
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        atomic.write_json(out / checkpoint.INDEX_NAME, index)
