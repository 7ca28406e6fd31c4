"""Job `merge`: work/base and work/ablate/adapter to work/merged."""

from __future__ import annotations

from typing import Any

from anneal_job.context import JobContext
from toolchains.dispatch import load


def run(context: JobContext) -> dict[str, Any]:
    """Runs the program of the job's toolchain; its module documents params, result and idempotency."""
    result: dict[str, Any] = load(context, "merge").run(context)
    return result
