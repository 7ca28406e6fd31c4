"""The child's side of `toolchains.gpu.child`: request in, progress, result or failure out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


class ChildFailure(Exception):
    """A failure whose cause is known; becomes the job's failure as it is."""

    def __init__(self, failure_class: str, message: str, advice: str) -> None:
        super().__init__(message)
        self.failure_class = failure_class
        self.message = message
        self.advice = advice


class Parent:
    """The way back to the job."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def progress(self, phase: str, done: float, total: float, unit: str, note: str | None = None) -> None:
        self._send({"type": "progress", "phase": phase, "done": done, "total": total, "unit": unit, "note": note})

    def result(self, value: Json) -> None:
        self._send({"type": "result", "value": value})

    def failure(self, failure: ChildFailure) -> None:
        self._send({"type": "failure", "class": failure.failure_class, "message": failure.message, "advice": failure.advice})

    def _send(self, message: Json) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]


def serve(work: Callable[[Json, Parent], Json]) -> None:
    """Runs `work` on the request and exits; any other exception leaves its traceback in the log and exit code 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--report-fd", type=int, required=True)
    parent = Parent(parser.parse_args().report_fd)
    request: Json = json.loads(sys.stdin.buffer.read())
    try:
        parent.result(work(request, parent))
    except ChildFailure as failure:
        parent.failure(failure)
        sys.exit(1)
