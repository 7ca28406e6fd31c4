"""Turns the merged model into the release: AWQ in 4 bits by llm-compressor, or as it is."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import list_files
from preflight.machine import memory_limit_bytes
from toolchains.gpu import environments, prompt_sets
from toolchains.gpu.child import device_of, run_child
from toolchains.gpu.model_facts import ModelFacts, facts_of, fitting_group_size
from toolchains.weights import checkpoint
from toolchains.weights.release_folder import publish_folder, total_bytes
from toolchains.weights.safetensors_io import Header, read_header

_SHIPPED = Path(__file__).parent / "shipped" / "calibration.txt"
_NONE = "Use `quantize: none`."
_BITS = {"BF16": 16, "F16": 16, "F32": 32}
# 4 bits with a scale and a zero point per 128, embeddings in 16 bits: 0.28 to 0.39 of the merged copy.
_DISK_FACTOR = 0.45


def run(context: JobContext) -> dict[str, Any]:
    """Makes work/release from work/merged.

    Params: `method` (`awq`, `none`), `groupSize` (128; 64 or 32 where it does not divide every width), `calibration` (list
    of texts; null = what prepare brought, else the harmless prompt sets, else shipped ones), `samples` (256),
    `sequenceTokens` (512), `device`. Config, tokenizer and template are the base's, plus `quantization_config`. Output goes
    to a temporary folder and is renamed; a repeated run replaces the release and starts from the beginning. Result `format`
    is `pack-quantized`, or `none` with `groupSize` 0. Raises `UnsupportedModel` for experts, vision towers and weights that
    are quantized already, `GroupSizeMismatch`, `OutOfMemory`, `DiskFull` and the classes of the failure table.
    """
    paths = context.paths
    method = context.param("method", str, "awq")
    if method not in ("awq", "none"):
        raise JobFailure("BadInput", f"unknown method {method!r}", "Use `awq` or `none`.")
    headers = checkpoint.check(paths.merged)
    if method == "none":
        return _as_it_is(context, headers)
    config = checkpoint.read_object(paths.merged / "config.json")
    facts = facts_of(config)
    require_supported(facts)
    group_size = group_size_for(widths_of(headers), context.param("groupSize", int, 128))
    merged_bytes = total_bytes(paths.merged)
    _require_room(paths.work, merged_bytes)
    lines, source = _calibration(context)
    python = environments.ensure(context, environments.QUANT)
    temporary = paths.work / "quantized.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    request = {
        "model": str(paths.merged),
        "out": str(temporary),
        "lines": lines,
        "samples": context.param("samples", int, 256),
        "sequenceTokens": context.param("sequenceTokens", int, 512),
        "groupSize": group_size,
    }
    figures = run_child(context, python, "quantize_awq", request)
    finish(temporary, paths.merged, config)
    shutil.rmtree(paths.quantized, ignore_errors=True)
    temporary.rename(paths.quantized)
    atomic.sync_folder(paths.work)
    publish_folder(paths.quantized, paths.release)
    release_bytes = total_bytes(paths.release)
    return {
        "format": "pack-quantized",
        "bits": 4,
        "groupSize": group_size,
        "releaseBytes": release_bytes,
        "compression": round(merged_bytes / release_bytes, 4),
        "scheme": "W4A16_ASYM",
        "calibration": {**source, "samples": figures["samples"], "tokens": figures["tokens"]},
        "versions": figures["versions"],
        "seconds": {"load": figures["loadSeconds"], "round": figures["roundSeconds"]},
        "madeOn": device_of(context),
    }


def require_supported(facts: ModelFacts) -> None:
    """Raises `UnsupportedModel` with the reason where AWQ in this form gives files that cannot be served."""
    if facts.quantized:
        raise JobFailure(
            "UnsupportedModel", "the model's weights are quantized already", "Use a 16-bit base, or `quantize: none`."
        )
    if facts.experts:
        raise JobFailure(
            "UnsupportedModel",
            f"the model has {facts.experts} experts; vLLM does not serve them in asymmetric 4 bits",
            _NONE,
        )
    if facts.vision:
        raise JobFailure(
            "UnsupportedModel", "the model has a vision tower, which this quantization cannot load in its own class", _NONE
        )


def widths_of(headers: dict[str, Header]) -> tuple[int, ...]:
    """Input widths of the layers that are quantized: all matrices but embeddings and output head."""
    left_out = ("embed", "lm_head", "wte", "wpe")
    return tuple(
        sorted(
            {
                entry.shape[1]
                for header in headers.values()
                for name, entry in header.tensors.items()
                if name.endswith(".weight") and len(entry.shape) == 2 and not any(word in name for word in left_out)
            }
        )
    )


def group_size_for(widths: tuple[int, ...], wanted: int) -> int:
    """The largest group size up to `wanted` that divides every width. Raises `GroupSizeMismatch` or `UnsupportedModel`."""
    if not widths:
        raise JobFailure("UnsupportedModel", "the model has no linear layers to quantize", _NONE)
    size = fitting_group_size(widths, wanted)
    if size is None:
        raise JobFailure("GroupSizeMismatch", f"no group size up to {wanted} divides the widths {list(widths)}", _NONE)
    return size


def finish(quantized: Path, merged: Path, config: dict[str, Any]) -> None:
    """Makes what the tool saved a release: its weights, everything else from `merged`.

    A newer transformers moves `rope_theta` and renames tokenizer classes when it saves, and an older one then reads wrong
    defaults without a word; so config.json is the base's plus `quantization_config`, and the other files are copies.
    """
    quantization = checkpoint.read_object(quantized / "config.json").get("quantization_config")
    if not quantization:
        raise _nothing_packed("the tool wrote no quantization_config")
    for file in list_files(quantized):
        if not file.endswith(".safetensors"):
            (quantized / file).unlink()
    for file in list_files(merged):
        if file.endswith(".safetensors") or file in ("config.json", checkpoint.INDEX_NAME):
            continue
        (quantized / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(merged / file, quantized / file)
    atomic.write_json(quantized / "config.json", {**config, "quantization_config": quantization})
    with checkpoint.made_here(quantized):
        headers = {path.name: read_header(path) for path in checkpoint.shard_paths(quantized)}
        if list(headers) != ["model.safetensors"]:
            atomic.write_json(quantized / checkpoint.INDEX_NAME, index_of(headers))
        checkpoint.check(quantized)
    if not any(name.endswith(".weight_packed") for header in headers.values() for name in header.tensors):
        raise _nothing_packed("the tool packed no layer")


def _nothing_packed(what: str) -> JobFailure:
    # The same files would give the same again, after as many hours.
    return JobFailure("UnsupportedModel", what, _NONE)


def index_of(headers: dict[str, Header]) -> dict[str, Any]:
    """The index document for shards that lie on disk."""
    weight_map = {name: shard for shard, header in headers.items() for name in header.tensors}
    total = sum(entry.end - entry.begin for header in headers.values() for entry in header.tensors.values())
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}


def _as_it_is(context: JobContext, headers: dict[str, Header]) -> dict[str, Any]:
    paths = context.paths
    publish_folder(paths.merged, paths.release)
    widths = [_BITS.get(entry.dtype, 16) for header in headers.values() for entry in header.tensors.values()]
    return {
        "format": "none",
        "bits": max(widths),
        "groupSize": 0,
        "releaseBytes": total_bytes(paths.release),
        "compression": 1.0,
        "madeOn": device_of(context),
    }


def _require_room(work: Path, merged_bytes: int) -> None:
    memory = memory_limit_bytes()
    # The model is in it once. What the plan asked for, and prepare looked at, is somewhat more.
    if memory < merged_bytes:
        raise JobFailure(
            "OutOfMemory",
            f"quantizing needs more than {merged_bytes} bytes of host memory, the pod has {memory}",
            "Use a pod with more host memory; the merged model is kept.",
            repeat="changed",
            change="moreHostMemory",
        )
    free = shutil.disk_usage(work).free
    if free < merged_bytes * _DISK_FACTOR:
        raise JobFailure(
            "DiskFull", f"{int(merged_bytes * _DISK_FACTOR)} bytes are needed, {free} are free", "Use a larger volume."
        )


def _calibration(context: JobContext) -> tuple[list[str], dict[str, Any]]:
    """The calibration text and what it is: never the prompts that the ablation works against."""
    given = prompt_sets.lines_given(context.params.get("calibration"), prompt_sets.CALIBRATION)
    brought = prompt_sets.path_of(context, prompt_sets.CALIBRATION)
    harmless = [path for name in prompt_sets.HARMLESS if (path := prompt_sets.path_of(context, name)).exists()]
    if given is not None:
        lines, source = given, "given"
    elif brought.exists():
        lines, source = prompt_sets.lines_of(brought), "prepared"
    elif harmless:
        lines, source = [line for path in harmless for line in prompt_sets.lines_of(path)], "harmless prompts"
    else:
        lines, source = prompt_sets.lines_of(_SHIPPED), "shipped"
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    return lines, {"source": source, "sha256": digest}
