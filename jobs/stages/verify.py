"""Job `verify`: proves work/release by decoding from it and lists its files in a manifest."""

from __future__ import annotations

from typing import Any

from anneal_job.context import JobContext
from toolchains.dispatch import load


def run(context: JobContext) -> dict[str, Any]:
    """Runs the program of the job's toolchain; its module documents params, result and idempotency."""
    result: dict[str, Any] = load(context, "verify").run(context)
    return result
