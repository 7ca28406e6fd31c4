"""The detached process that runs one program, relays its log and writes its end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anneal_job import atomic, process_identity, telemetry
from anneal_job.clock import now_iso
from anneal_job.events import EventLog
from anneal_job.failures import Failure, classify_text, failure_of_class, failure_told, keep_end
from anneal_job.log_relay import LogRelay
from anneal_job.paths import JobPaths, job_paths
from anneal_job.protocol import PROTOCOL, RESULT_LIMIT_BYTES, Json
from anneal_job.secrets_filter import SecretsFilter

DEFAULT_GRACE_SECONDS = 60.0


@dataclass
class StopRequest:
    """Set by SIGTERM; the main loop acts on it."""

    asked_at: float | None = None


@dataclass(frozen=True)
class Ending:
    """How the program ended and what it said about it."""

    exit_code: int | None
    signal_number: int | None
    report: Json | None
    stop_asked: bool
    oom_kills: int
    log_tail: str


def supervise(job_id: str, lock_descriptor: int) -> int:
    """Runs the program of `job_id` to its end and writes exit.json. Holds the inherited lock for its whole life."""
    stop = StopRequest()

    def on_term(_number: int, _frame: object) -> None:
        if stop.asked_at is None:
            stop.asked_at = time.monotonic()

    signal.signal(signal.SIGTERM, on_term)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(lock_descriptor, False)  # the program must not keep the lock of a dead supervisor
    start = json.loads(sys.stdin.buffer.read())
    _close_stdin()
    paths = job_paths(job_id)
    job = atomic.read_json(paths.job)
    if job is None:
        raise RuntimeError("job.json is missing")
    secrets: dict[str, str] = start["secrets"]
    secrets_filter = SecretsFilter(secrets.values())
    run = _Run(paths, job, int(start["attempt"]), secrets, secrets_filter, stop)
    return run.to_end()


def _close_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


class _Run:
    def __init__(
        self, paths: JobPaths, job: Json, attempt: int, secrets: dict[str, str], secrets_filter: SecretsFilter, stop: StopRequest
    ) -> None:
        self._paths = paths
        self._job = job
        self._attempt = attempt
        self._secrets = secrets
        self._filter = secrets_filter
        self._stop = stop
        self._started_at = now_iso()

    def to_end(self) -> int:
        paths = self._paths
        # A new attempt must not be stopped, or judged, by what was meant for the last one.
        paths.stop.unlink(missing_ok=True)
        paths.result.unlink(missing_ok=True)
        oom_before = telemetry.oom_kills()
        log = LogRelay(paths.log, self._filter)
        events = EventLog(paths.events, self._filter, log.feed)
        process, report_reader = self._spawn_program()
        identity = process_identity.identify(process.pid)
        self._write_supervisor_file(identity)
        events.emit("started", attempt=self._attempt, pid=process.pid)
        events.close()
        report = self._relay(process, report_reader, log)
        code = process.wait()
        log.finish()
        ending = Ending(
            exit_code=code if code >= 0 else None,
            signal_number=-code if code < 0 else None,
            report=report,
            stop_asked=self._stop.asked_at is not None,
            oom_kills=telemetry.oom_kills() - oom_before,
            log_tail=log.tail(),
        )
        self._record(ending, log)
        return 0

    def _write_supervisor_file(self, program: process_identity.ProcessIdentity | None) -> None:
        value: dict[str, Any] = {**process_identity.current().to_json(), "attempt": self._attempt, "startedAt": self._started_at}
        value["program"] = program.to_json() if program else None
        atomic.write_json(self._paths.supervisor, value)

    def _spawn_program(self) -> tuple[subprocess.Popen[bytes], int]:
        reader, writer = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "anneal_job.program", "--report-fd", str(writer), "--supervisor", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[writer],
                start_new_session=True,
            )
        finally:
            os.close(writer)
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"job": self._job, "secrets": self._secrets, "attempt": self._attempt}).encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # It ended before reading; its exit tells why.
        return process, reader

    def _relay(self, process: subprocess.Popen[bytes], report_reader: int, log: LogRelay) -> Json | None:
        assert process.stdout is not None
        output = process.stdout.fileno()
        chunks: list[bytes] = []
        term_sent = False
        kill_at: float | None = None
        ended_at: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            selector.register(report_reader, selectors.EVENT_READ)
            # The timeout bounds how late a SIGTERM is forwarded when it arrives just before the wait.
            while selector.get_map():
                for key, _ in selector.select(timeout=0.1):
                    data = os.read(key.fd, 65536)
                    if not data:
                        selector.unregister(key.fd)
                    elif key.fd == output:
                        log.feed(data)
                    else:
                        chunks.append(data)
                if self._stop.asked_at is not None and process.poll() is None:
                    if not term_sent:
                        process.send_signal(signal.SIGTERM)
                        term_sent = True
                        kill_at = self._stop.asked_at + self._grace_seconds()
                    elif kill_at is not None and time.monotonic() >= kill_at:
                        os.killpg(process.pid, signal.SIGKILL)
                        kill_at = None
                # Grandchildren may hold the output open after the program's end; they are not waited for.
                if process.poll() is not None:
                    ended_at = ended_at or time.monotonic()
                    if time.monotonic() - ended_at > 1.0:
                        break
        os.close(report_reader)
        return _parse_report(b"".join(chunks))

    def _grace_seconds(self) -> float:
        value = (atomic.read_json(self._paths.stop) or {}).get("graceSeconds", DEFAULT_GRACE_SECONDS)
        return float(value) if isinstance(value, int | float) else DEFAULT_GRACE_SECONDS

    def _record(self, ending: Ending, log: LogRelay) -> None:
        outcome, failure = judge(ending, self._paths.result)
        if failure is not None:
            failure = replace(failure, message=self._filter.text(failure.message), advice=self._filter.text(failure.advice))
        value = {
            "protocol": PROTOCOL,
            "jobId": self._job["jobId"],
            "outcome": outcome,
            "exitCode": ending.exit_code,
            "signal": signal.Signals(ending.signal_number).name if ending.signal_number else None,
            "startedAt": self._started_at,
            "endedAt": now_iso(),
            "failure": failure.to_json() if failure else None,
        }
        try:
            events = EventLog(self._paths.events, self._filter, log.feed)
            events.emit(outcome, **({"failure": failure.to_json()} if failure else {}))
            events.close()
        except OSError:
            pass  # exit.json is what counts
        _write_exit(self._paths, value)


def _write_exit(paths: JobPaths, value: Json) -> None:
    """Writes exit.json even when the disk was full, by waiting for room: without it the job would look lost."""
    for pause_seconds in (0.0, 0.5, 2.0, 10.0):
        time.sleep(pause_seconds)
        try:
            atomic.write_json(paths.exit, value)
            return
        except OSError as error:
            last = error
    raise last


def _parse_report(data: bytes) -> Json | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def judge(ending: Ending, result_path: Path) -> tuple[str, Failure | None]:
    """The outcome word and failure for an ending. `succeeded` needs a clean exit and a result file that parses."""
    report = ending.report or {}
    said = report.get("outcome")
    if said == "succeeded" and ending.exit_code == 0:
        result = atomic.read_json(result_path)
        if result is None:
            return "failed", failure_of_class("JobCrashed", "the program reported success without a readable result.json")
        if result_path.stat().st_size > RESULT_LIMIT_BYTES:
            return "failed", failure_of_class("JobCrashed", f"result.json is larger than {RESULT_LIMIT_BYTES} bytes")
        return "succeeded", None
    if said == "failed" and isinstance(report.get("failure"), dict):
        return "failed", failure_told(report["failure"])
    if said == "stopped" or (ending.stop_asked and ending.signal_number is not None):
        return "stopped", None
    if ending.signal_number == signal.SIGKILL or ending.exit_code == 137:
        if ending.oom_kills > 0:
            return "failed", failure_of_class("OutOfMemory", "the kernel ended the program: the pod's memory limit was reached")
        return "failed", failure_of_class(
            "Killed", "the program was ended by SIGKILL; the memory counters do not show the kernel did it"
        )
    how = (
        f"exit code {ending.exit_code}" if ending.signal_number is None else f"signal {signal.Signals(ending.signal_number).name}"
    )
    return "failed", failure_of_class(classify_text(ending.log_tail), keep_end(f"{ending.log_tail}\n({how})"))
