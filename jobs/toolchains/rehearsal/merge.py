"""Merges the adapter into the base, one shard at a time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import digest_file, list_files, sha256_of
from artifacts.manifest import digest_of
from toolchains.rehearsal import checkpoint
from toolchains.rehearsal.number_formats import STORAGE_DTYPES, Float32, from_float32, to_float32
from toolchains.rehearsal.safetensors_io import read_header, read_tensors

_PIECE_BYTES = 4 * 1024 * 1024


def run(context: JobContext) -> dict[str, Any]:
    """Writes work/merged: `W + (alpha / r) * B @ A` in float32, cast back, for every matrix the adapter names.

    Param `ablated`: true demands an adapter, false ignores one, absent takes one if there is one; without, the result
    equals the base. Param `adapterDigest`: what ablate recorded; another adapter is refused (`AdapterMismatch`).
    Everything else is copied byte for byte. Memory: one matrix. Resumable per shard; a merge made from
    other inputs is removed first, so the same inputs always give the same bytes.
    """
    paths = context.paths
    there = (paths.adapter / "adapter_config.json").exists()
    wanted = context.param("ablated", bool, there)
    if wanted and not there:
        raise JobFailure("AdapterMissing", "there is no adapter to merge", "Run ablate first, or restore its checkpoint.")
    expected = context.param("adapterDigest", str, "")
    if wanted and expected and (found := adapter_digest(paths.adapter)) != expected:
        raise JobFailure(
            "AdapterMismatch",
            f"the adapter has digest {found[:12]}, and ablate recorded {expected[:12]}",
            "Ablate again: anneal run resume <name> --from ablate.",
        )
    deltas = read_adapter(paths.adapter) if wanted else {}
    headers = checkpoint.check(paths.base)
    known = {name for header in headers.values() for name in header.tensors}
    if missing := sorted(deltas.keys() - known):
        raise JobFailure(
            "AdapterMismatch", f"the base has no tensor {missing[0]}", "The adapter belongs to another base. Ablate again."
        )
    key = {
        "adapter": sha256_of(paths.adapter / "adapter_model.safetensors") if deltas else None,
        "base": {name: sha256_of(paths.base / name) for name in headers},
    }
    progress_file = paths.work / "merge-progress.json"
    progress = atomic.read_json(progress_file) or {}
    if progress.get("key") != key:
        shutil.rmtree(paths.merged, ignore_errors=True)
        progress = {"key": key, "shards": {}}
    paths.merged.mkdir(parents=True, exist_ok=True)
    changed: list[str] = []
    for number, name in enumerate(sorted(headers), start=1):
        context.check_stop()
        target = paths.merged / name
        done = progress["shards"].get(name)
        if done is None or not target.exists() or sha256_of(target) != done["sha256"]:
            done = {"changed": merge_shard(paths.base / name, target, deltas)}
            done["sha256"] = sha256_of(target)
            progress["shards"][name] = done
            atomic.write_json(progress_file, progress)
        changed += done["changed"]
        context.events.progress("merge", number, len(headers), "shards")
    for path in list_files(paths.base):
        if path not in headers:
            _copy(paths.base / path, paths.merged / path)
    checkpoint.check(paths.merged)
    return {
        "shards": len(headers),
        "changedTensors": sorted(changed),
        "totalBytes": sum((paths.merged / path).stat().st_size for path in list_files(paths.merged)),
    }


def adapter_digest(folder: Path) -> str:
    """The digest that ablate's result names its adapter by."""
    return digest_of(digest_file(folder, name) for name in list_files(folder))


def read_adapter(folder: Path) -> dict[str, tuple[Float32, Float32]]:
    """Weight name to the pair (scaled B of shape (rows, r), A of shape (r, columns)); from a plain LoRA adapter."""
    config = checkpoint.read_object(folder / "adapter_config.json")
    plain = config.get("peft_type") == "LORA" and config.get("bias", "none") == "none"
    if not plain or any(config.get(name) for name in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern")):
        raise JobFailure("AdapterMismatch", "only plain LoRA adapters can be merged", "Export the adapter without these options.")
    scale = np.float32(config["lora_alpha"] / config["r"])
    halves: dict[str, dict[str, Float32]] = {}
    for key, tensor in read_tensors(folder / "adapter_model.safetensors").items():
        module, _, half = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
        halves.setdefault(f"{module}.weight", {})[half] = to_float32(tensor.data, tensor.dtype)
    return {name: (pair["B"] * scale, pair["A"]) for name, pair in halves.items()}


def merge_shard(source: Path, target: Path, deltas: dict[str, tuple[Float32, Float32]]) -> list[str]:
    """Writes one merged shard to `target` and returns the names of the changed tensors. Header bytes are kept."""
    header = read_header(source)
    part = target.with_name(target.name + ".part")
    changed: list[str] = []
    with source.open("rb") as reader, part.open("wb") as writer:
        writer.write(len(header.raw).to_bytes(8, "little") + header.raw)
        reader.seek(header.data_start)
        for name, entry in sorted(header.tensors.items(), key=lambda item: item[1].begin):
            data = reader.read(entry.end - entry.begin)
            if name in deltas:
                column, row = deltas[name]
                weight = to_float32(np.frombuffer(data, dtype=STORAGE_DTYPES[entry.dtype]), entry.dtype).reshape(entry.shape)
                delta = column @ row
                if delta.shape != weight.shape:
                    raise JobFailure("AdapterMismatch", f"{name} has another shape than its delta", "Ablate again.")
                merged = weight + delta
                if not np.isfinite(merged).all():
                    raise JobFailure(
                        "NonFiniteWeights", f"{name} is no longer finite after the merge", "Ablate again with other settings."
                    )
                data = from_float32(merged, entry.dtype).tobytes()
                changed.append(name)
            writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())
    part.replace(target)
    return changed


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    shutil.copyfile(source, part)
    part.replace(target)
