"""Merges the adapter into the base, one shard at a time."""

from __future__ import annotations

from typing import Any

from anneal_job.context import JobContext
from artifacts.hashing import sha256_of
from toolchains.weights.lora_merge import merge


def run(context: JobContext) -> dict[str, Any]:
    """`lora_merge.merge`; files are known again by their digests, which is cheap for a tiny model."""
    return merge(context, sha256_of)
