"""Chooses the programs that do a stage's work."""

from __future__ import annotations

import importlib
from types import ModuleType

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from toolchains.gpu import environments

_NAMES = ("gpu", "rehearsal")


def toolchain_of(context: JobContext) -> str:
    """The toolchain word of the job. Raises `BadInput` for an unknown word."""
    name = context.param("toolchain", str, context.toolchain)
    if name not in _NAMES:
        raise JobFailure("BadInput", f"unknown toolchain {name!r}", f"Use one of: {', '.join(_NAMES)}.")
    return name


def enter(context: JobContext) -> str:
    """Makes the packages importable that the job's toolchain needs in this process, and returns its word.

    A pod's image has none of them; a rehearsal's interpreter comes with them. Raises what `environments.ensure` raises.
    """
    name = toolchain_of(context)
    if name == "gpu":
        environments.enter_io(context)
    return name


def load(context: JobContext, module: str) -> ModuleType:
    """The module of the job's toolchain that does `module`."""
    return importlib.import_module(f"toolchains.{enter(context)}.{module}")
