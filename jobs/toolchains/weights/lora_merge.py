"""Merges a plain LoRA adapter into a base model, one shard at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import digest_file, list_files, sha256_of
from artifacts.manifest import digest_of
from toolchains.weights import checkpoint
from toolchains.weights.number_formats import STORAGE_DTYPES, Float32, from_float32, to_float32
from toolchains.weights.safetensors_io import Header, TensorEntry, read_header, read_tensors

Deltas = dict[str, tuple[Float32, Float32]]
"""Weight name to the pair (scaled B of shape (rows, r), A of shape (r, columns))."""

Fingerprint = Callable[[Path], object]
"""Says of a file whether it is still the same; costs of reading it are the caller's choice."""

# A vision-language checkpoint often names the text stack differently on disk than the loaded model does.
_OTHER_NAMES = (("model.language_model.", "model."), ("model.language_model.", "language_model.model."))
# What must stay free beside the merged copy: journals and status files share the disk.
_ROOM_BYTES = 2**29


@dataclass(frozen=True)
class Adapter:
    """What there is to merge: pairs by the base's tensor names, none when the base is taken as it is."""

    deltas: Deltas
    sha256: str | None


def merge(context: JobContext, fingerprint: Fingerprint) -> dict[str, Any]:
    """Writes work/merged: `W + (alpha / r) * B @ A` in float32, cast back, for every matrix the adapter names.

    Param `ablated`: true demands an adapter, false ignores one, absent takes one if there is one; without, the result
    equals the base. Param `adapterDigest`: what ablate recorded; another adapter is refused (`AdapterMismatch`).
    Everything else is copied byte for byte. Memory: one matrix. Resumable per shard; a merge made from
    other inputs is removed first, so the same inputs always give the same bytes.
    """
    paths = context.paths
    headers = checkpoint.check(paths.base)
    adapter = _wanted_adapter(context, headers)
    key = {"adapter": adapter.sha256, "base": {name: fingerprint(paths.base / name) for name in headers}}
    progress_file = paths.work / "merge-progress.json"
    progress = atomic.read_json(progress_file) or {}
    if progress.get("key") != key:
        shutil.rmtree(paths.merged, ignore_errors=True)
        progress = {"key": key, "shards": {}}
    paths.merged.mkdir(parents=True, exist_ok=True)
    _require_room(paths.base, paths.merged, headers)
    changed: list[str] = []
    for number, name in enumerate(sorted(headers), start=1):
        context.check_stop()
        target = paths.merged / name
        done = progress["shards"].get(name)
        if done is None or not target.exists() or fingerprint(target) != done["fingerprint"]:
            done = {"changed": merge_shard(paths.base / name, target, adapter.deltas)}
            done["fingerprint"] = fingerprint(target)
            progress["shards"][name] = done
            atomic.write_json(progress_file, progress)
        changed += done["changed"]
        context.events.progress("merge", number, len(headers), "shards")
    if adapter.deltas and not changed:
        raise JobFailure("AdapterMismatch", "the adapter changes nothing: all its matrices are zero", "Ablate again.")
    for path in list_files(paths.base):
        if path not in headers:
            _copy(paths.base / path, paths.merged / path)
    with checkpoint.made_here(paths.merged):
        _require_same_layout(headers, checkpoint.check(paths.merged))
    return {
        "shards": len(headers),
        "changedTensors": sorted(changed),
        "totalBytes": sum((paths.merged / path).stat().st_size for path in list_files(paths.merged)),
    }


def adapter_digest(folder: Path) -> str:
    """The digest that ablate's result names its adapter by."""
    return digest_of(digest_file(folder, name) for name in list_files(folder))


def read_adapter(folder: Path) -> Deltas:
    """The pairs of a plain LoRA adapter by weight name. Raises `AdapterMismatch` for any other kind."""
    config = checkpoint.read_object(folder / "adapter_config.json")
    plain = config.get("peft_type") == "LORA" and config.get("bias", "none") == "none"
    if not plain or any(config.get(name) for name in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern")):
        raise JobFailure("AdapterMismatch", "only plain LoRA adapters can be merged", "Export the adapter without these options.")
    scale = np.float32(config["lora_alpha"] / config["r"])
    halves: dict[str, dict[str, Float32]] = {}
    for key, tensor in read_tensors(folder / "adapter_model.safetensors").items():
        module, _, half = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
        halves.setdefault(f"{module}.weight", {})[half] = to_float32(tensor.data, tensor.dtype)
    for name, pair in halves.items():
        if pair.keys() != {"A", "B"}:
            raise JobFailure("AdapterMismatch", f"the adapter's {name} has not exactly the halves A and B", "Ablate again.")
    return {name: (pair["B"] * scale, pair["A"]) for name, pair in halves.items()}


def named_as_on_disk(deltas: Deltas, known: set[str]) -> Deltas:
    """The same pairs under the names that the base's files use. Raises `AdapterMismatch` when one has no tensor."""
    found: Deltas = {}
    for name, pair in deltas.items():
        candidates = [name] if name in known else [name.replace(old, new, 1) for old, new in _OTHER_NAMES if old in name]
        hits = [candidate for candidate in candidates if candidate in known]
        if len(hits) != 1:
            raise JobFailure(
                "AdapterMismatch", f"the base has no tensor {name}", "The adapter belongs to another base. Ablate again."
            )
        found[hits[0]] = pair
    return found


def merge_shard(source: Path, target: Path, deltas: Deltas) -> list[str]:
    """Writes one merged shard to `target` and returns the names of the changed tensors. Header bytes are kept.

    A matrix whose delta is zero keeps its bytes and does not count as changed.
    """
    header = read_header(source)
    part = target.with_name(target.name + ".part")
    changed: list[str] = []
    with source.open("rb") as reader, part.open("wb") as writer:
        writer.write(len(header.raw).to_bytes(8, "little") + header.raw)
        reader.seek(header.data_start)
        for name, entry in sorted(header.tensors.items(), key=lambda item: item[1].begin):
            data = reader.read(entry.end - entry.begin)
            delta = deltas[name][0] @ deltas[name][1] if name in deltas else None
            if delta is not None and delta.any():
                data = _merged(name, data, entry, delta)
                changed.append(name)
            writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())
    part.replace(target)
    return changed


def _merged(name: str, data: bytes, entry: TensorEntry, delta: Float32) -> bytes:
    if entry.dtype not in ("BF16", "F16", "F32"):
        raise JobFailure("UnsupportedModel", f"{name} is {entry.dtype}; a delta cannot be added to it", "Use a 16-bit base.")
    weight = to_float32(np.frombuffer(data, dtype=STORAGE_DTYPES[entry.dtype]), entry.dtype).reshape(entry.shape)
    if delta.shape != weight.shape:
        raise JobFailure("AdapterMismatch", f"{name} has another shape than its delta", "Ablate again.")
    merged = weight + delta
    if not np.isfinite(merged).all():
        raise JobFailure("NonFiniteWeights", f"{name} is no longer finite after the merge", "Ablate again with other settings.")
    return from_float32(merged, entry.dtype).tobytes()


def _wanted_adapter(context: JobContext, headers: dict[str, Header]) -> Adapter:
    folder = context.paths.adapter
    there = (folder / "adapter_config.json").exists()
    if not context.param("ablated", bool, there):
        return Adapter({}, None)
    if not there:
        raise JobFailure("AdapterMissing", "there is no adapter to merge", "Run ablate first, or restore its checkpoint.")
    expected = context.param("adapterDigest", str, "")
    if expected and (found := adapter_digest(folder)) != expected:
        raise JobFailure(
            "AdapterMismatch",
            f"the adapter has digest {found[:12]}, and ablate recorded {expected[:12]}",
            "Ablate again: anneal run resume <name> --from ablate.",
        )
    known = {name for header in headers.values() for name in header.tensors}
    return Adapter(named_as_on_disk(read_adapter(folder), known), sha256_of(folder / "adapter_model.safetensors"))


def _require_room(base: Path, merged: Path, headers: dict[str, Header]) -> None:
    needed = sum((base / name).stat().st_size for name in headers)
    there = sum((merged / name).stat().st_size for name in headers if (merged / name).exists())
    free = shutil.disk_usage(merged).free
    if free < needed - there + _ROOM_BYTES:
        raise JobFailure(
            "DiskFull", f"the merged copy needs {needed - there} more bytes, {free} are free", "Use a larger volume."
        )


def _require_same_layout(base: dict[str, Header], merged: dict[str, Header]) -> None:
    for name, header in base.items():
        if name not in merged or merged[name].tensors != header.tensors:
            raise JobFailure("DamagedModel", f"{name} of the merged copy has other tensors than the base", "Run merge again.")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    shutil.copyfile(source, part)
    part.replace(target)
