"""Job `ablate`: work/base to work/ablate/adapter, with the journal of its search beside it."""

from __future__ import annotations

from typing import Any

from anneal_job.context import JobContext
from toolchains.dispatch import load


def run(context: JobContext) -> dict[str, Any]:
    """Runs the program of the job's toolchain; its module documents params, result and idempotency."""
    result: dict[str, Any] = load(context, "ablate").run(context)
    return result
