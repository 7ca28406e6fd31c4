"""What a stage program is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from anneal_job.events import EventLog
from anneal_job.failures import JobFailure, JobStopped
from anneal_job.paths import WorkPaths
from anneal_job.protocol import Json

_T = TypeVar("_T")
_WAIT_STEP_SECONDS = 0.05


@dataclass
class StopFlag:
    """Set by SIGTERM. While `at_once` is set the handler ends the program itself instead of waiting to be asked."""

    asked: bool = False
    at_once: bool = False
    end_now: Callable[[], None] | None = None


@dataclass
class JobContext:
    """One attempt of one job, seen from inside its program."""

    job_id: str
    stage: str
    toolchain: str
    params: Json
    paths: WorkPaths
    events: EventLog
    attempt: int = 1
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    stop: StopFlag = field(default_factory=StopFlag)

    def stop_requested(self) -> bool:
        return self.stop.asked

    def check_stop(self) -> None:
        """Raises `JobStopped` when a stop was asked for; call where the files are in a resumable state."""
        if self.stop.asked:
            raise JobStopped

    def wait(self, seconds: float) -> bool:
        """Waits up to `seconds`; ends early on a stop and then returns True. Raises nothing."""
        # Short sleeps instead of an Event: setting one inside a signal handler can deadlock on its lock.
        deadline = time.monotonic() + seconds
        while not self.stop.asked and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_WAIT_STEP_SECONDS, left))
        return self.stop.asked

    @contextmanager
    def ends_at_once(self) -> Iterator[None]:
        """Inside, a stop ends the program immediately. For library calls whose files survive a kill at any instant."""
        self.check_stop()
        self.stop.at_once = True
        try:
            # The signal may have come between the check and the line above.
            self.check_stop()
            yield
        finally:
            self.stop.at_once = False

    def param(self, name: str, kind: type[_T] | tuple[type, ...], default: _T | None = None) -> _T:
        """The parameter `name`, of type `kind`; `default` when absent or null. Raises `BadInput` when it does not fit."""
        value = self.params.get(name)
        if value is None:
            value = default
        # bool is an int in Python, but `trials: true` is a mistake.
        fits = isinstance(value, kind) and (not isinstance(value, bool) or kind is bool)
        if not fits:
            raise JobFailure(
                "BadInput",
                f"parameter {name!r} is missing or of the wrong type",
                "Correct the request; this is not repairable by a retry.",
            )
        return value  # type: ignore[return-value]

    def number(self, name: str, default: float | None = None) -> float:
        """The parameter `name` as a float; `default` when absent or null."""
        value: float | int = self.param(name, (int, float), default)
        return float(value)
