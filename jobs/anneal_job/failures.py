"""How a job fails: the exceptions stages raise and the classes that reach exit.json."""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass
from typing import Any

MESSAGE_LIMIT_BYTES = 2048


class JobFailure(Exception):
    """A failure whose cause is known. `failure_class` is a stable word, `advice` the next step for a person.

    `repeat` says whether the stage may be started again (`same`, `changed`, `person`, `never`), `change` which one change
    may help; None where nobody has said.
    """

    def __init__(
        self, failure_class: str, message: str, advice: str, *, repeat: str | None = None, change: str | None = None
    ) -> None:
        super().__init__(message)
        self.failure_class = failure_class
        self.message = message
        self.advice = advice
        self.repeat = repeat
        self.change = change


class JobStopped(BaseException):
    """A stop was asked for and the work is at a point from which it can be resumed.

    Not an `Exception`, so that retry loops in libraries do not swallow it.
    """


@dataclass(frozen=True)
class Failure:
    """What exit.json says about a failure."""

    failure_class: str
    message: str
    advice: str
    repeat: str | None = None
    change: str | None = None

    def to_json(self) -> dict[str, Any]:
        said = {"repeat": self.repeat, "change": self.change}
        known = {key: word for key, word in said.items() if word is not None}
        return {"class": self.failure_class, "message": keep_end(self.message), "advice": self.advice, **known}


def keep_end(text: str, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> str:
    """The end of `text` in at most `limit_bytes` bytes of UTF-8: the last lines of a log or trace name the cause."""
    data = text.encode()
    if len(data) <= limit_bytes:
        return text
    return "…" + data[-(limit_bytes - 3) :].decode(errors="ignore")


_ADVICE = {
    "DiskFull": "Use a larger volume, or remove what is not needed, and start the stage again; finished parts are kept.",
    "OutOfMemory": "Use a pod with more memory, or a smaller batch, and start the stage again.",
    "Killed": "Something outside the job ended it. Start the stage again; it resumes from its files.",
    "JobCrashed": "The message holds the last lines of the log; log.txt on the pod holds all of them.",
}


def failure_told(value: dict[str, Any]) -> Failure:
    """The `Failure` whose `to_json` another process has sent."""
    words = {key: str(value[key]) for key in ("repeat", "change") if value.get(key) is not None}
    return Failure(str(value.get("class")), str(value.get("message")), str(value.get("advice", "")), **words)


def failure_of_class(failure_class: str, message: str) -> Failure:
    """A `Failure` with the usual advice of one of the general classes."""
    return Failure(failure_class, message, _ADVICE.get(failure_class, ""))


def classify_text(text: str) -> str:
    """The class that the last lines of a program's output point to; `JobCrashed` when nothing is recognised."""
    if "No space left" in text or "os error 28" in text or "Not enough free disk space" in text:
        return "DiskFull"
    if (
        "CUDA out of memory" in text
        or "torch.OutOfMemoryError" in text
        or "CUBLAS_STATUS_ALLOC_FAILED" in text
        or "MemoryError" in text
    ):
        return "OutOfMemory"
    return "JobCrashed"


def classify_exception(error: BaseException) -> Failure:
    """The failure that an exception escaping from a stage stands for."""
    if isinstance(error, JobFailure):
        return Failure(error.failure_class, error.message, error.advice, error.repeat, error.change)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return failure_of_class("DiskFull", str(error))
    trace = "".join(traceback.format_exception(error))
    return failure_of_class("OutOfMemory" if isinstance(error, MemoryError) else classify_text(trace), trace)
