"""Programs under another environment's Python: what they say, how they end, and that a stop reaches them."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from anneal_job.context import JobContext
from anneal_job.events import EventLog
from anneal_job.failures import JobFailure, JobStopped
from anneal_job.paths import WorkPaths
from anneal_job.secrets_filter import SecretsFilter
from tests.conftest import JOBS, until
from toolchains.gpu.child import run_child

# Takes the place of an environment's Python; uses the product's own wire module, as every child does.
CHILD = f"""#!{sys.executable}
import os, pathlib, sys, time
sys.path.insert(0, {str(JOBS)!r})
from toolchains.gpu.children.wire import ChildFailure, serve

def work(request, parent):
    parent.progress("load", 1, 2, "models", "half")
    mode = request["mode"]
    if mode == "named":
        raise ChildFailure("KlTooLarge", "too far", "Use less.")
    if mode == "crash":
        print("* line\\n" * 300)
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    if mode == "silent":
        sys.exit(0)
    if mode == "killed":
        os.kill(os.getpid(), 9)
    if mode == "hang":
        pathlib.Path(request["here"], "pid").write_text(str(os.getpid()))
        time.sleep(60)
    return {{"request": request, "environment": dict(os.environ), "arguments": sys.argv[1:3]}}

serve(work)
"""


class Job:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python"
        # The interpreter's own options come first in the command line; the child's parser must not see them.
        self.python.write_text(CHILD.replace("import os,", "import sys; sys.argv[1:3] = []\nimport os,", 1))
        self.python.chmod(0o755)
        self.events = folder / "events.jsonl"
        params = {"device": "cpu"}
        self.context = JobContext("j", "verify", "gpu", params, WorkPaths(folder), EventLog(self.events, SecretsFilter([])))

    def run(self, mode: str) -> dict[str, object]:
        return run_child(self.context, self.python, "any", {"mode": mode, "here": str(self.folder)})

    def failure(self, mode: str) -> JobFailure:
        with pytest.raises(JobFailure) as caught:
            self.run(mode)
        return caught.value


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_child_gets_its_request_and_gives_progress_and_result(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "placeholder")
    monkeypatch.setenv("HF_TOKEN", "placeholder")
    result = job.run("ok")
    assert result["request"] == {"mode": "ok", "here": str(job.folder), "device": "cpu"}
    environment = result["environment"]
    assert isinstance(environment, dict) and environment["HF_HUB_OFFLINE"] == "1" and environment["CUDA_VISIBLE_DEVICES"] == ""
    assert "placeholder" not in environment.values()
    events = [json.loads(line) for line in job.events.read_text().splitlines()]
    assert [(event["phase"], event["done"], event["note"]) for event in events] == [("load", 1, "half")]


def test_a_named_failure_arrives_as_it_is(job: Job) -> None:
    failure = job.failure("named")
    assert (failure.failure_class, failure.message, failure.advice) == ("KlTooLarge", "too far", "Use less.")


def test_an_unnamed_end_is_recognised_by_its_last_lines(job: Job) -> None:
    assert job.failure("crash").failure_class == "OutOfMemory"
    assert job.failure("silent").failure_class == "JobCrashed"
    assert job.failure("killed").failure_class == "Killed"


def test_a_stop_ends_the_child(job: Job) -> None:
    pid = job.folder / "pid"

    def stop() -> None:
        until(pid.exists)
        job.context.stop.asked = True

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(JobStopped):
        job.run("hang")
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
