"""What every test gets: a workspace of its own, and the supervisor's commands as a caller uses them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anneal_job import atomic, process_identity
from toolchains.rehearsal.make_base import make_base

JOBS = Path(__file__).parents[1]
SECRET = "hf_placeholder-token-for-tests"

# A stage for tests of the supervisor: `stages` is a namespace package, so a second folder may add to it.
NAP_STAGE = '''
"""Naps, so that the supervisor can be watched."""
import os, sys, time

def run(context):
    mode = context.params.get("mode", "ok")
    print("token in the log:", context.secrets.get("HF_TOKEN"), flush=True)
    naps = int(context.params.get("naps", 3))
    for nap in range(naps):
        context.events.progress("nap", nap + 1, naps, "naps", note=context.secrets.get("HF_TOKEN"))
        context.check_stop()
        context.wait(0.05)
    if mode == "remedied":
        from anneal_job.failures import JobFailure

        said = "too large with " + context.secrets["HF_TOKEN"]
        raise JobFailure("OutOfMemory", said, "less", repeat="changed", change="smallerBatch")
    if mode == "crash":
        raise RuntimeError("broken with " + context.secrets["HF_TOKEN"])
    if mode == "disk":
        raise OSError(28, "No space left on device")
    if mode == "killed":
        os.kill(os.getpid(), 9)
    if mode == "exit":
        os._exit(3)
    if mode == "library call":
        with context.ends_at_once():
            time.sleep(60)
    if mode == "deaf":
        time.sleep(60)
    return {"naps": naps, "token": context.secrets.get("HF_TOKEN")}
'''


class Pod:
    """One workspace and the commands of the supervisor."""

    # A command that takes longer hangs.
    command_limit_seconds = 60

    def __init__(self, workspace: Path, extra: Path) -> None:
        self.root = workspace / "anneal"
        self.work = self.root / "work"
        self.env = {
            **os.environ,
            "ANNEAL_WORKSPACE": str(workspace),
            "ANNEAL_BEAT_SECONDS": "0.1",
            "PYTHONPATH": str(extra),
        }

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "anneal_job", *arguments],
            cwd=JOBS,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def command(self, *arguments: str, stdin: object = None) -> tuple[int, list[dict[str, Any]]]:
        process = self.popen(*arguments)
        given = b"" if stdin is None else json.dumps(stdin).encode()
        out, error = process.communicate(given, timeout=self.command_limit_seconds)
        assert not error, error.decode()
        return process.returncode, [json.loads(line) for line in out.splitlines()]

    def request(self, job_id: str, stage: str, params: dict[str, Any], **over: Any) -> dict[str, Any]:
        job = {"jobId": job_id, "stage": stage, "toolchain": "rehearsal", "params": params}
        return {"protocol": 1, "job": job, "secrets": {"HF_TOKEN": SECRET}, **over}

    def start(self, job_id: str, stage: str = "nap", **params: Any) -> dict[str, Any]:
        code, lines = self.command("start", stdin=self.request(job_id, stage, params))
        assert code == 0, lines
        return lines[0]

    def follow(self, job_id: str, offset: int = 0, follower: str = "f") -> list[dict[str, Any]]:
        _, lines = self.command("follow", "--job", job_id, "--from", str(offset), "--follower", follower)
        return lines

    def run(self, job_id: str, stage: str, **params: Any) -> dict[str, Any]:
        """Runs a job to its end and returns the `exit` line."""
        self.start(job_id, stage, **params)
        line = self.follow(job_id)[-1]
        assert line["type"] == "exit", line
        return line

    def result(self, job_id: str, stage: str, **params: Any) -> dict[str, Any]:
        line = self.run(job_id, stage, **params)
        assert line["exit"]["outcome"] == "succeeded", line["exit"]
        result: dict[str, Any] = line["result"]
        return result

    def file(self, job_id: str, name: str) -> Path:
        return self.root / "jobs" / job_id / name

    def supervisor(self, job_id: str) -> dict[str, Any]:
        value = atomic.read_json(self.file(job_id, "supervisor.json"))
        assert value is not None
        return value

    def events(self, job_id: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file(job_id, "events.jsonl").read_text().splitlines()]

    def end_all(self) -> None:
        for file in self.root.glob("jobs/*/supervisor.json"):
            value = atomic.read_json(file) or {}
            for identity in (process_identity.from_json(value), process_identity.from_json(value.get("program"))):
                if identity is not None:
                    identity.send(signal.SIGKILL)


def until(condition: Callable[[], bool], limit_seconds: float = 15) -> None:
    """Waits until `condition` holds; fails the test when it does not."""
    deadline = time.monotonic() + limit_seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    make_base(folder, 1)
    return folder


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    extra = tmp_path / "extra"
    (extra / "stages").mkdir(parents=True)
    (extra / "stages" / "nap.py").write_text(NAP_STAGE)
    made = Pod(tmp_path / "workspace", extra)
    yield made
    made.end_all()
