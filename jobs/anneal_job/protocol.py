"""Protocol version 1: the vocabulary shared with the callers of `python3 -m anneal_job`."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from typing import Any

PROTOCOL = 1
# Files of a job that an older supervisor started and this one can still read.
OLDEST_READABLE = 1
LINE_LIMIT_BYTES = 16 * 1024
RESULT_LIMIT_BYTES = 64 * 1024

Json = dict[str, Any]

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STAGE = re.compile(r"[a-z][a-z0-9_]{0,39}")


class CallerError(Exception):
    """The caller asked for something that cannot be done; becomes one `error` line and exit code 2."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class JobSpec:
    """What a job is, without its secrets; equal specs under one id are the same job."""

    job_id: str
    stage: str
    toolchain: str
    params: Json

    def to_json(self) -> Json:
        return {"jobId": self.job_id, "stage": self.stage, "toolchain": self.toolchain, "params": self.params}


@dataclass(frozen=True)
class StartRequest:
    """One `start`: the job and the secrets that go to its program's stdin and nowhere else."""

    job: JobSpec
    secrets: dict[str, str] = field(repr=False)


def check_job_id(value: object) -> str:
    """Returns the id when it is safe as a directory name, else raises `BadInput`."""
    if not isinstance(value, str) or not _JOB_ID.fullmatch(value):
        raise CallerError("BadInput", "jobId must be 1 to 128 characters of A-Z a-z 0-9 . _ - and begin with a letter or digit")
    return value


def check_protocol(stored: object, job_id: str) -> None:
    """Raises `ProtocolMismatch` unless the files of a job, written for protocol `stored`, can be read; names both versions."""
    if isinstance(stored, int) and not isinstance(stored, bool) and OLDEST_READABLE <= stored <= PROTOCOL:
        return
    reads = f"{PROTOCOL}" if OLDEST_READABLE == PROTOCOL else f"{OLDEST_READABLE} to {PROTOCOL}"
    raise CallerError("ProtocolMismatch", f"job {job_id} was started with protocol {stored!r}, this worker reads {reads}"[:200])


def parse_spec(value: object) -> JobSpec:
    """Reads the `job` object of a request or of job.json; raises `BadInput`."""
    if not isinstance(value, dict):
        raise CallerError("BadInput", "job must be an object")
    stage = value.get("stage")
    if not isinstance(stage, str) or not _STAGE.fullmatch(stage):
        raise CallerError("BadInput", "job.stage must be a lower-case word")
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise CallerError("BadInput", "job.params must be an object")
    toolchain = value.get("toolchain", params.get("toolchain"))
    if not isinstance(toolchain, str):
        raise CallerError("BadInput", "job.toolchain must be text")
    return JobSpec(check_job_id(value.get("jobId")), stage, toolchain, params)


def parse_start(text: str) -> StartRequest:
    """Reads the stdin of `start`; raises `BadInput` or `ProtocolMismatch`. Never repeats the text, which holds secrets."""
    try:
        value = json.loads(text)
    except ValueError:
        raise CallerError("BadInput", "stdin is not one JSON object") from None
    if not isinstance(value, dict):
        raise CallerError("BadInput", "stdin is not one JSON object")
    if value.get("protocol") != PROTOCOL:
        raise CallerError(
            "ProtocolMismatch", f"this supervisor speaks protocol {PROTOCOL}, the request {value.get('protocol')!r}"[:200]
        )
    secrets = value.get("secrets", {})
    if not isinstance(secrets, dict) or not all(isinstance(v, str) for v in secrets.values()):
        raise CallerError("BadInput", "secrets must be an object of text values")
    return StartRequest(parse_spec(value.get("job")), secrets)


def cut_strings(value: Any, limit_chars: int) -> Any:
    """The same value with every string longer than `limit_chars` cut and marked."""
    if isinstance(value, str):
        return value if len(value) <= limit_chars else value[:limit_chars] + "…[cut]"
    if isinstance(value, dict):
        return {key: cut_strings(item, limit_chars) for key, item in value.items()}
    if isinstance(value, list):
        return [cut_strings(item, limit_chars) for item in value]
    return value


def encode_line(value: Json) -> bytes:
    """One JSON line of at most `LINE_LIMIT_BYTES` bytes; long strings are cut, a still longer value is replaced."""
    for limit_chars in (None, 2048, 512, 128, 32):
        shown = value if limit_chars is None else cut_strings(value, limit_chars)
        line = json.dumps(shown, separators=(",", ":")).encode() + b"\n"
        if len(line) <= LINE_LIMIT_BYTES:
            return line
    # Keeping the type lets a reader count and skip what was too wide to send.
    return json.dumps({"type": value.get("type"), "at": value.get("at"), "oversized": True}).encode() + b"\n"


def say(value: Json, *, whole: bool = False) -> None:
    """Writes one line to stdout and flushes. `whole` sends a result unaltered: cutting one would falsify it."""
    line = json.dumps(value, separators=(",", ":")).encode() + b"\n" if whole else encode_line(value)
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
