"""Calls of the Hub that wait out its bad moments: a busy Hub must not cost an ablation its pod."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from hub.connection import named_failures

_T = TypeVar("_T")

# The pod is paid for while it waits: ten minutes of an H100 are about half a dollar.
PATIENCE_SECONDS = 600.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


def patiently(context: JobContext, repository: str, call: Callable[[], _T]) -> _T:
    """Repeats `call` while the Hub is unreachable or busy, with doubling pauses, for at most `hubPatienceSeconds` (param).

    `call` bears repeating and being killed at any instant. Raises what `named_failures` makes of its errors; a stop that
    comes in a pause ends it at once.
    """
    deadline = time.monotonic() + context.number("hubPatienceSeconds", PATIENCE_SECONDS)
    pause = _FIRST_PAUSE
    while True:
        try:
            with named_failures(repository), context.ends_at_once():
                return call()
        except JobFailure as failure:
            if failure.failure_class != "HubUnavailable" or time.monotonic() + pause > deadline:
                raise
            context.events.progress("hub", 0, 1, "answers", f"again in {pause:.0f} s: {failure.message[:200]}")
        context.wait(pause)
        context.check_stop()
        pause = min(pause * 2, _LONGEST_PAUSE)
