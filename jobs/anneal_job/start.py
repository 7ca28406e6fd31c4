"""`start`: makes sure that a job runs, exactly once."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from anneal_job import atomic, process_identity
from anneal_job.paths import JobPaths, job_paths
from anneal_job.protocol import PROTOCOL, CallerError, JobSpec, Json, StartRequest, check_protocol, parse_spec

_READY_SECONDS = 20.0


def start(request: StartRequest) -> Json:
    """Starts, restarts or finds the job and returns the `started` line.

    Idempotency key: the job id. A live supervisor or a recorded exit gives `already`; a dead one without exit gives
    `restarted` with the next attempt. Returns only when the supervisor can be found by `follow`. Raises `CallerError`.
    """
    job = request.job
    if importlib.util.find_spec(f"stages.{job.stage}") is None:
        raise CallerError("BadInput", f"there is no stage {job.stage!r}")
    paths = job_paths(job.job_id)
    paths.folder.mkdir(parents=True, exist_ok=True)
    with paths.start_lock.open("a") as gate:
        # Two starts at once take turns here; the second then finds the first one's supervisor.
        fcntl.flock(gate, fcntl.LOCK_EX)
        return _start_alone(request, paths)


def _start_alone(request: StartRequest, paths: JobPaths) -> Json:
    stored = atomic.read_json(paths.job)
    if stored is None:
        atomic.write_json(paths.job, {"protocol": PROTOCOL, **request.job.to_json()})
    else:
        check_protocol(stored.get("protocol"), request.job.job_id)
        if parse_spec(stored) != request.job:
            raise CallerError("BadInput", f"job {request.job.job_id} exists with another stage, toolchain or params")
    previous = atomic.read_json(paths.supervisor) or {}
    attempts = int(previous.get("attempt", 0))
    if paths.exit.exists():
        return _line(request.job, "already", max(attempts, 1))
    with paths.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _line(request.job, "already", max(attempts, 1))
        # A supervisor may have ended between the two looks, leaving its exit behind.
        if paths.exit.exists():
            return _line(request.job, "already", max(attempts, 1))
        _end_orphan(previous)
        attempt = attempts + 1
        _spawn(request, paths, lock, attempt)
    return _line(request.job, "started" if stored is None else "restarted", attempt)


def _line(job: JobSpec, state: str, attempt: int) -> Json:
    return {"type": "started", "protocol": PROTOCOL, "jobId": job.job_id, "state": state, "attempt": attempt}


def _end_orphan(previous: Json) -> None:
    """Ends a program that outlived its supervisor; it normally dies with it (see program.py)."""
    program = process_identity.from_json(previous.get("program"))
    if program is not None and program.alive():
        program.send(signal.SIGKILL, group=True)
        deadline = time.monotonic() + 5
        while program.alive() and time.monotonic() < deadline:
            time.sleep(0.01)


def _spawn(request: StartRequest, paths: JobPaths, lock: IO[str], attempt: int) -> None:
    # The lock travels as an open descriptor: there is no moment in which nobody holds it.
    with paths.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "anneal_job", "supervise", "--job", request.job.job_id, "--lock-fd", str(lock.fileno())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=True,
            cwd=Path.cwd(),
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps({"secrets": request.secrets, "attempt": attempt}).encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # It died at once; the wait below says so with its log.
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        value = atomic.read_json(paths.supervisor) or {}
        if value.get("pid") == process.pid and value.get("attempt") == attempt:
            return
        if process.poll() is not None:
            raise CallerError("SupervisorFailed", f"the supervisor ended at once with {process.returncode}; see {paths.log.name}")
        time.sleep(0.005)
    raise CallerError("SupervisorFailed", f"the supervisor was not ready after {_READY_SECONDS:.0f} s")
