"""Job `prepare`: looks at the pod and brings the base model to work/base."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import list_files
from hub.activity_watch import folder_bytes
from hub.connection import connect
from hub.download import download
from preflight.machine import preflight
from toolchains.dispatch import enter, load, toolchain_of
from toolchains.weights import checkpoint


def run(context: JobContext) -> dict[str, Any]:
    """Params: `baseRepo`, `baseCommit` (full sha), `hubEndpoint`, `disableXet`, `needs.diskBytes` (bytes, whole run), and
    those of `toolchains.gpu.prepare`.

    Idempotency key: repository and commit. Raises `DiskFull` when free space and what is already there are less than
    needed, what the toolchain's own checks raise, the failures of `hub.download`, and `UnsupportedModel` when the base's
    files are not those of one model.
    """
    toolchain_of(context)
    paths = context.paths
    repository, commit = context.param("baseRepo", str), context.param("baseCommit", str)
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise JobFailure("BadInput", "baseCommit must be a full commit id", "Resolve the revision before the job is started.")
    paths.work.mkdir(parents=True, exist_ok=True)
    found = preflight(paths.work)
    if not found["workspaceWritable"]:
        raise JobFailure("WorkspaceReadOnly", "the workspace cannot be written", "Attach a writable volume and start again.")
    needed = context.param("needs", dict, {}).get("diskBytes") or 0
    # What earlier stages left counts as available: it is part of the same need.
    available = found["diskFreeBytes"] + folder_bytes(paths.work)
    if available < needed:
        raise JobFailure("DiskFull", f"{needed} bytes are needed, {available} are available", "Use a larger volume.")
    toolchain = enter(context)
    api = connect(context)
    if toolchain == "gpu":
        # Nothing large is downloaded before it is certain that the pod, the model and the tools fit together.
        found |= load(context, "prepare").before_download(context, api, found, repository, commit)
    files = download(context, api, repository, commit, paths.base)
    config = _config(context)
    require_layout(paths.base)
    return {
        "preflight": found,
        "base": {
            "files": [file.to_json() for file in files],
            "totalBytes": sum(file.size for file in files),
            "architectures": config.get("architectures") or [],
            "modelType": config.get("model_type"),
        },
    }


def require_layout(base: Path) -> None:
    """Raises `UnsupportedModel` for weights that merge would refuse: there it would be after the hours of a search."""
    try:
        checkpoint.check(base)
    except JobFailure as failure:
        advice = "Use a repository whose safetensors files and their index are those of one model."
        raise JobFailure("UnsupportedModel", f"the base cannot be worked on: {failure.message}", advice) from failure


def _config(context: JobContext) -> dict[str, Any]:
    base = context.paths.base
    if "config.json" not in list_files(base):
        raise JobFailure("UnsupportedModel", "the base has no config.json", "Use a repository in the transformers layout.")
    value: dict[str, Any] = json.loads((base / "config.json").read_bytes())
    return value
