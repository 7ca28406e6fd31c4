"""Runs one of `toolchains/gpu/children` under the interpreter of another environment.

Request: one JSON object on stdin. Answers: JSON lines on a pipe of their own, since the libraries print to stdout.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from anneal_job.paths import hub_home
from preflight.machine import oom_kills
from toolchains.gpu.failure_table import diagnose, known
from toolchains.gpu.subprocesses import run_to_end

_JOBS = Path(__file__).parents[2]


@dataclass
class _Inbox:
    """What a child has said so far."""

    context: JobContext
    pending: bytes = b""
    result: dict[str, Any] | None = None
    failure: JobFailure | None = None
    notes: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> None:
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "progress":
                self.context.events.progress(
                    message["phase"], message["done"], message["total"], message["unit"], message.get("note")
                )
            case "result":
                self.result = message["value"]
            case "failure":
                self.failure = known(message["class"], message["message"], message["advice"])


def run_child(context: JobContext, python: Path, name: str, request: dict[str, Any]) -> dict[str, Any]:
    """Runs `toolchains.gpu.children.<name>` and returns its result.

    A stop ends it with SIGTERM and raises `JobStopped`; a child writes to temporary names, so nothing half is left behind.
    Raises the failure it named, or what `failure_table.diagnose` makes of its last lines.
    """
    inbox, device = _Inbox(context), device_of(context)
    reader, writer = os.pipe()
    kills_before = oom_kills()
    command = [str(python), "-m", f"toolchains.gpu.children.{name}", "--report-fd", str(writer)]
    try:
        ended = run_to_end(
            context,
            command,
            {**offline(), **visible_gpus(device)},
            stdin=json.dumps({**request, "device": device}).encode(),
            folder=_JOBS,
            report=(reader, writer, inbox.feed),
        )
    finally:
        os.close(reader)
    if inbox.failure is not None:
        raise inbox.failure
    if ended.code == 0 and inbox.result is not None:
        return inbox.result
    raise diagnose(ended.tail, ended.code, oom_kills=oom_kills() - kills_before).failure()


def offline() -> dict[str, str]:
    """Settings of every tool: prepare is the only step that reads the Hub."""
    return {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(hub_home()),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def visible_gpus(device: str) -> dict[str, str]:
    """Hides GPUs from a program that is to run without one, also where there are some."""
    return {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}


def device_of(context: JobContext) -> str:
    """Param `device`: `cuda`, or `cpu` in tests. Raises `BadInput`."""
    device = context.param("device", str, "cuda")
    if device not in ("cuda", "cpu"):
        raise JobFailure("BadInput", f"unknown device {device!r}", "Use `cuda`; `cpu` is for tests.")
    return device
