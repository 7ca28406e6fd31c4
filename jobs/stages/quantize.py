"""Job `quantize`: work/merged to work/quantized, and work/release as what will be published."""

from __future__ import annotations

from typing import Any

from anneal_job.context import JobContext
from toolchains.dispatch import load


def run(context: JobContext) -> dict[str, Any]:
    """Runs the program of the job's toolchain; its module documents params, result and idempotency."""
    result: dict[str, Any] = load(context, "quantize").run(context)
    return result
