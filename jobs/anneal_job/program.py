"""Entry of the child process: runs one stage and reports how it ended."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from anneal_job import atomic
from anneal_job.context import JobContext, StopFlag
from anneal_job.events import EventLog
from anneal_job.failures import JobFailure, JobStopped, classify_exception
from anneal_job.paths import WorkPaths, job_paths, work_paths
from anneal_job.protocol import RESULT_LIMIT_BYTES, parse_spec
from anneal_job.secrets_filter import SecretsFilter

EXIT_FAILED = 1
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again later

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with(supervisor_pid: int) -> None:
    """Makes the kernel kill this process when its supervisor dies, so that a restart never meets a running twin."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid:
        os._exit(EXIT_FAILED)


class Reporter:
    """Tells the supervisor, once, how the program ended."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, outcome: str, failure: dict[str, Any] | None = None) -> None:
        data = json.dumps({"outcome": outcome, "failure": failure}).encode()
        os.write(self._descriptor, data)
        os.close(self._descriptor)


@contextmanager
def stage_lock(paths: WorkPaths, stage: str) -> Iterator[None]:
    """Keeps two jobs from writing one stage's files at the same time; fails at once with `WorkspaceBusy`."""
    paths.locks.mkdir(parents=True, exist_ok=True)
    with (paths.locks / f"{stage}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobFailure(
                "WorkspaceBusy", f"another job runs stage {stage} on this pod", "Follow or stop that job first."
            ) from None
        yield


def main(arguments: list[str]) -> int:
    """Reads `{job, secrets, attempt}` from stdin, runs `stages.<stage>.run(context)`, writes result.json, reports."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--supervisor", type=int, required=True)
    options = parser.parse_args(arguments)
    flag = StopFlag()

    def on_term(_number: int, _frame: object) -> None:
        flag.asked = True
        if flag.at_once and flag.end_now is not None:
            flag.end_now()

    signal.signal(signal.SIGTERM, on_term)
    die_with(options.supervisor)
    reporter = Reporter(options.report_fd)
    os.set_inheritable(options.report_fd, False)
    request = json.loads(sys.stdin.buffer.read())
    sys.stdin.close()
    spec = parse_spec(request["job"])
    secrets: dict[str, str] = request["secrets"]
    secrets_filter = SecretsFilter(secrets.values())
    paths = job_paths(spec.job_id)
    events = EventLog(paths.events, secrets_filter, _print_line)

    def end_now() -> None:
        events.flush()
        reporter.send("stopped")
        os._exit(EXIT_STOPPED)

    flag.end_now = end_now
    context = JobContext(
        job_id=spec.job_id,
        stage=spec.stage,
        toolchain=spec.toolchain,
        params=spec.params,
        paths=work_paths(),
        events=events,
        attempt=int(request["attempt"]),
        secrets=secrets,
        stop=flag,
    )
    try:
        context.check_stop()
        with stage_lock(context.paths, spec.stage):
            result = importlib.import_module(f"stages.{spec.stage}").run(context)
        clean = secrets_filter.value(result)
        size = len(json.dumps(clean))
        if size > RESULT_LIMIT_BYTES // 2:
            # result.json is indented; half the limit leaves room for that.
            raise JobFailure(
                "ResultTooLarge", f"the result takes {size} bytes", "A result names files by digest; long lists belong in a file."
            )
        events.flush()
        atomic.write_json(paths.result, clean)
        reporter.send("succeeded")
        return 0
    except JobStopped:
        events.flush()
        reporter.send("stopped")
        return EXIT_STOPPED
    except Exception as error:
        traceback.print_exc()
        failure = classify_exception(error)
        _flush_quietly(events)
        reporter.send("failed", replace(failure, message=secrets_filter.text(failure.message)).to_json())
        return EXIT_FAILED


def _print_line(line: bytes) -> None:
    """Puts an event into the log, in its place among what the stage prints."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(line.decode())
        sys.stdout.flush()


def _flush_quietly(events: EventLog) -> None:
    # On a full disk the failure itself still has to be reported.
    with contextlib.suppress(OSError):
        events.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
