"""Chooses the programs that do a stage's work."""

from __future__ import annotations

import importlib
from types import ModuleType

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure


def toolchain_of(context: JobContext) -> str:
    """The toolchain word of the job. Raises `NotBuilt` for `gpu` and `BadInput` for an unknown word."""
    name = context.param("toolchain", str, context.toolchain)
    if name == "gpu":
        raise JobFailure("NotBuilt", "the gpu toolchain is not part of this version", "Use `toolchain: rehearsal`.")
    if name != "rehearsal":
        raise JobFailure("BadInput", f"unknown toolchain {name!r}", "Use `toolchain: rehearsal`.")
    return name


def load(context: JobContext, module: str) -> ModuleType:
    """The module of the job's toolchain that does `module`."""
    return importlib.import_module(f"toolchains.{toolchain_of(context)}.{module}")
