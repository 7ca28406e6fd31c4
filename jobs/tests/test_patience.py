"""Waiting out a busy Hub: pauses double, a stop ends them, and what a person must solve is not repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anneal_job.context import JobContext, StopFlag
from anneal_job.events import EventLog
from anneal_job.failures import JobFailure, JobStopped
from anneal_job.paths import WorkPaths
from anneal_job.secrets_filter import SecretsFilter
from hub.patience import patiently


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    events = EventLog(tmp_path / "events.jsonl", SecretsFilter([]))
    paths = WorkPaths(tmp_path)
    return JobContext("job", "prepare", "rehearsal", {"hubPatienceSeconds": 3}, paths, events)


def failing(times: int, error: Exception) -> tuple[list[int], Any]:
    """A call of the Hub that fails `times` times before it answers, and how often it was made."""
    made: list[int] = []

    def call() -> str:
        made.append(1)
        if len(made) <= times:
            raise error
        return "answer"

    return made, call


def test_a_hub_that_comes_back_costs_a_pause(context: JobContext) -> None:
    made, call = failing(1, ConnectionError("refused"))
    assert patiently(context, "a/b", call) == "answer"
    assert len(made) == 2
    context.events.flush()


def test_a_hub_that_stays_away_is_named_after_the_patience(context: JobContext) -> None:
    _, call = failing(99, ConnectionError("refused"))
    with pytest.raises(JobFailure) as caught:
        patiently(context, "a/b", call)
    assert caught.value.failure_class == "HubUnavailable"


def test_what_repeating_cannot_cure_is_not_repeated(context: JobContext) -> None:
    made, call = failing(99, JobFailure("HubForbidden", "no", "ask"))
    with pytest.raises(JobFailure):
        patiently(context, "a/b", call)
    assert len(made) == 1


def test_a_stop_ends_the_pause(context: JobContext) -> None:
    made, call = failing(99, ConnectionError("refused"))

    def stopped() -> str:
        try:
            return str(call())
        finally:
            context.stop = StopFlag(asked=True)

    with pytest.raises(JobStopped):
        patiently(context, "a/b", stopped)
    assert len(made) == 1
