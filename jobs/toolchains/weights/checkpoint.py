"""A model directory: its shards, its index and the rules that tie them together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anneal_job.failures import JobFailure
from toolchains.weights.safetensors_io import Header, Tensor, read_header, read_tensors

INDEX_NAME = "model.safetensors.index.json"
_ADVICE = "The model's files do not fit together. Delete the stage's output and run the stage again."


def read_object(path: Path) -> dict[str, Any]:
    """One JSON object from a model directory; `DamagedModel` when it is missing or not an object."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise JobFailure("DamagedModel", f"{path.name} is missing", _ADVICE) from None
    except ValueError as error:
        raise JobFailure("DamagedModel", f"{path.name} does not parse: {error}", _ADVICE) from None
    if not isinstance(value, dict):
        raise JobFailure("DamagedModel", f"{path.name} is not a JSON object", _ADVICE)
    return value


def shard_paths(folder: Path) -> list[Path]:
    """The weight files of a model, sorted by name."""
    return sorted(folder.glob("*.safetensors"))


def check(folder: Path) -> dict[str, Header]:
    """Reads every header and checks it against the index, both ways. Returns shard name to header.

    A single `model.safetensors` needs no index. The index's `total_size` is not compared: some writers leave it out, or
    count otherwise.
    """
    headers = {path.name: read_header(path) for path in shard_paths(folder)}
    if not headers:
        raise JobFailure("DamagedModel", "there are no safetensors files", _ADVICE)
    owners: dict[str, str] = {}
    for shard, header in headers.items():
        for name in header.tensors:
            if name in owners:
                raise JobFailure("DamagedModel", f"tensor {name} is in {owners[name]} and in {shard}", _ADVICE)
            owners[name] = shard
    if not (folder / INDEX_NAME).exists():
        if list(headers) != ["model.safetensors"]:
            raise JobFailure("DamagedModel", f"{INDEX_NAME} is missing", _ADVICE)
        return headers
    index = read_object(folder / INDEX_NAME)
    if index.get("weight_map") != owners:
        named: dict[str, str] = index.get("weight_map") or {}
        wrong = sorted(name for name in named.keys() | owners.keys() if named.get(name) != owners.get(name))
        raise JobFailure("DamagedModel", f"index and shards disagree about {', '.join(wrong[:5])}", _ADVICE)
    return headers


@contextmanager
def made_here(folder: Path) -> Iterator[None]:
    """Around the check of what this stage has just written: damaged, it is removed, and the stage may be started again."""
    try:
        yield
    except JobFailure as failure:
        if failure.failure_class not in ("DamagedModel", "DamagedWeights"):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        advice = "What was damaged is removed. Start the stage again; if it repeats, the pod's disk is at fault."
        message, change = failure.message, "repeatStep"
        raise JobFailure(failure.failure_class, message, advice, repeat="changed", change=change) from failure


def index_of(shards: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    """The index document for shards given as name to tensors."""
    return {
        "metadata": {"total_size": sum(t.data.nbytes for tensors in shards.values() for t in tensors.values())},
        "weight_map": {name: shard for shard in sorted(shards) for name in sorted(shards[shard])},
    }


def read_all(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checked model; memory of the whole model."""
    check(folder)
    tensors: dict[str, Tensor] = {}
    for path in shard_paths(folder):
        tensors |= read_tensors(path)
    return tensors
