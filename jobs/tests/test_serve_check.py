"""The check by a server: against a stand-in that speaks vLLM's HTTP, and through the whole verify job where it is skipped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anneal_job.context import JobContext
from anneal_job.events import EventLog
from anneal_job.failures import Failure, JobFailure, JobStopped
from anneal_job.paths import WorkPaths
from anneal_job.secrets_filter import SecretsFilter
from tests.conftest import JOBS, until
from toolchains.gpu import serve_check, verify
from toolchains.gpu.environments import MARKER, QUANT, SERVE, Environment, pinned
from toolchains.gpu.questions import Questions
from toolchains.gpu.serve_check import ServerPlan, deadline_seconds

STAND_IN = JOBS / "tests/stand_ins/vllm_0_27_1.py"
ANSWERS = {"one?": "the first", "two?": "the second"}
LENGTH_MESSAGE = (
    "ValueError: To serve at least one request with the models's max seq len (40960), (5.62 GiB KV cache is needed, which is "
    "larger than the available KV cache memory (3.11 GiB). Based on the available memory, the estimated maximum model length is "
    "22640. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
)
# Takes the place of the quant environment's Python: verify's own answers, without a model.
QUANT_CHILD = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(JOBS)!r})
sys.argv[1:3] = []
from toolchains.gpu.children.wire import serve

def work(request, parent):
    answers = {ANSWERS!r}
    return {{"answers": [answers[p] for p in request["prompts"]], "before": [], "kl": 0.0, "versions": {{}}, "skipped": {{}}}}

serve(work)
"""
SMI = """#!/bin/sh
case "$*" in
  *query-gpu*) echo "NVIDIA H100 80GB HBM3, 81920, 81000, 580.65.06" ;;
  *) echo "| NVIDIA-SMI 580.65.06   Driver Version: 580.65.06   CUDA Version: CUDA_HERE |" ;;
esac
"""


class Place:
    """A workspace with a release, environments of stand-ins, and a GPU that only `nvidia-smi` knows of."""

    def __init__(self, folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = folder / "stand-in"
        self.home.mkdir()
        self.envs = folder / "envs"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.paths = WorkPaths(folder / "work")
        for name in ("merged", "release"):
            shutil.copytree(base, self.paths.work / name)
        self.install(SERVE, "vllm", f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        self.install(QUANT, "python", QUANT_CHILD)
        self.cuda("13.0")
        self.plan(answers=ANSWERS)
        self.events = folder / "events.jsonl"
        monkeypatch.setenv("ANNEAL_ENVS", str(self.envs))
        monkeypatch.setenv("ANNEAL_WORKSPACE", str(folder))
        monkeypatch.setenv("VLLM_STAND_IN", str(self.home))
        monkeypatch.setenv("QUANTIZATION", "awq")
        monkeypatch.setenv("HF_TOKEN", "placeholder")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")

    def install(self, environment: Environment, program: str, text: str) -> None:
        tools = self.envs / f"{environment.name}-{environment.key}"
        (tools / "bin").mkdir(parents=True)
        (tools / "bin/python").symlink_to(sys.executable)
        (tools / "bin" / program).unlink(missing_ok=True)
        (tools / "bin" / program).write_text(text)
        (tools / "bin" / program).chmod(0o755)
        (tools / MARKER).write_text("{}")

    def cuda(self, version: str) -> None:
        (self.bin / "nvidia-smi").write_text(SMI.replace("CUDA_HERE", version))
        (self.bin / "nvidia-smi").chmod(0o755)

    def plan(self, **plan: Any) -> None:
        (self.home / "plan.json").write_text(json.dumps(plan))

    def started(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.home / "started.json").read_text())
        return value

    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / "requests").read_text().splitlines()]

    def context(self, **params: Any) -> JobContext:
        return JobContext("j", "verify", "gpu", params, self.paths, EventLog(self.events, SecretsFilter([])))

    def check(self, context: JobContext | None = None, own: list[str] | None = None) -> dict[str, Any]:
        own = list(ANSWERS.values()) if own is None else own
        return serve_check.check(context or self.context(), ServerPlan(8192, 0.25), Questions(list(ANSWERS), 24, False), own)

    def failure(self) -> JobFailure:
        with pytest.raises(JobFailure) as caught:
            self.check()
        self.require_nothing_left()
        return caught.value

    def require_nothing_left(self) -> None:
        for pid in self.started()["pids"]:
            until(lambda pid=pid: not alive(pid))  # type: ignore[misc]


def alive(pid: int) -> bool:
    """A process that ended and was not collected by its new parent yet is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def place(tmp_path: Path, base_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path, base_model, monkeypatch)
    yield made
    if (made.home / "started.json").exists():
        for pid in made.started()["pids"]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_the_release_is_served_as_a_worker_would_and_asked_as_verify_asks(place: Place) -> None:
    result = verify.run(place.context(prompts=list(ANSWERS), maxTokens=7, server={"maxModelLen": 8192, "memoryGb": 24}))
    found = result["server"]
    assert (found["vllm"], found["maxModelLen"], found["equal"]) == ("0.27.1", 8192, True)
    assert found["answers"] == result["answers"] and found["seconds"] > 0
    assert json.loads((place.paths.verify / "verified.json").read_text())["server"] == found
    started = place.started()
    port = started["arguments"][5]
    # 24 GB of 80 GiB.
    assert started["arguments"] == [
        *("serve", str(place.paths.release), "--host", "127.0.0.1", "--port", port),
        *("--served-model-name", "anneal-check", "--max-model-len", "8192", "--gpu-memory-utilization", "0.2793"),
        *("--max-num-batched-tokens", "2048", "--max-num-seqs", "256"),
    ]
    environment = started["environment"]
    assert environment["HF_HUB_OFFLINE"] == "1" and "HF_TOKEN" not in environment and "QUANTIZATION" not in environment
    assert environment["PATH"].startswith(str(place.envs))
    asked = place.requests()
    assert [request["messages"] for request in asked] == [[{"role": "user", "content": prompt}] for prompt in ANSWERS]
    for request in asked:
        assert (request["path"], request["temperature"], request["max_tokens"]) == ("/v1/chat/completions", 0, 7)
        assert request["repetition_penalty"] == 1 and request["chat_template_kwargs"] == {"enable_thinking": False}
    phases = [json.loads(line)["phase"] for line in place.events.read_text().splitlines()]
    assert "start server" in phases and phases[-1] == "ask server"
    place.require_nothing_left()


def test_a_model_that_may_think_is_asked_as_the_endpoint_will_be(place: Place) -> None:
    verify.run(place.context(prompts=list(ANSWERS), thinking=True, server={"maxModelLen": 8192, "memoryGb": None}))
    assert [request["chat_template_kwargs"] for request in place.requests()] == [{}, {}]


def _without_answers(place: Place) -> None:
    child = QUANT_CHILD.replace('[answers[p] for p in request["prompts"]]', "[]")
    child = child.replace('"skipped": {}', '"skipped": {"answers": "141 bytes fit nowhere"}')
    assert child.count("fit nowhere") == 1
    (place.envs / f"{QUANT.name}-{QUANT.key}/bin/python").write_text(child)


def test_the_server_answers_where_the_model_could_not_be_loaded(place: Place) -> None:
    _without_answers(place)
    server = {"maxModelLen": 8192, "memoryGb": 72}
    result = verify.run(place.context(prompts=list(ANSWERS), answersNeeded=True, server=server))
    assert result["answers"] == [{"prompt": prompt, "answer": answer} for prompt, answer in ANSWERS.items()]
    assert result["server"]["equal"] is None and "beforeAfter" not in result


def test_a_release_that_nobody_could_ask_is_not_for_an_endpoint(place: Place) -> None:
    _without_answers(place)
    assert verify.run(place.context(prompts=list(ANSWERS)))["answers"] == []
    with pytest.raises(JobFailure) as caught:
        verify.run(place.context(prompts=list(ANSWERS), answersNeeded=True))
    assert caught.value.failure_class == "OutOfMemory" and "fit nowhere" in caught.value.message
    assert caught.value.change == "moreHostMemory" and "checkOnPod" in caught.value.advice


@pytest.mark.parametrize(("memory_gb", "small"), [(43.2, True), (72, False), (None, False)])
def test_a_smaller_gpu_is_planned_for_as_vllm_will_there(place: Place, memory_gb: float | None, small: bool) -> None:
    plan = serve_check.planned(place.context(server={"maxModelLen": 8192, "memoryGb": memory_gb}))
    assert isinstance(plan, ServerPlan) and plan.small == small
    assert ("--max-num-seqs" in serve_check.arguments(place.paths.release, plan, 1)) == small


def test_other_answers_are_recorded_and_not_refused(place: Place) -> None:
    assert place.check(own=["the first", "another"])["equal"] is False
    assert place.check(own=[])["equal"] is None


def test_without_the_param_no_server_is_asked(place: Place) -> None:
    assert "server" not in verify.run(place.context(prompts=list(ANSWERS), server=None))
    assert not (place.home / "started.json").exists()


def test_on_a_cpu_it_is_skipped_with_the_reason(place: Place) -> None:
    shutil.rmtree(place.envs / f"serve-{SERVE.key}")
    result = verify.run(place.context(prompts=list(ANSWERS), device="cpu", server={"maxModelLen": 8192, "memoryGb": None}))
    assert list(result["server"]) == ["skipped"] and "CUDA" in result["server"]["skipped"]
    assert not (place.envs / f"serve-{SERVE.key}").exists()


@pytest.mark.parametrize(("memory_gb", "expected"), [(None, 0.9), (800, 0.9), (8.589934592, 0.1)])
def test_the_share_of_a_larger_gpu_is_what_the_worker_will_have(place: Place, memory_gb: float | None, expected: float) -> None:
    plan = serve_check.planned(place.context(server={"maxModelLen": 1, "memoryGb": memory_gb}))
    assert isinstance(plan, ServerPlan) and plan.utilization == pytest.approx(expected)


@pytest.mark.parametrize("server", [{}, {"maxModelLen": 0}, {"maxModelLen": True}, {"maxModelLen": 1, "memoryGb": 0}, "yes"])
def test_another_request_is_refused(place: Place, server: object) -> None:
    with pytest.raises(JobFailure) as caught:
        serve_check.planned(place.context(server=server))
    assert caught.value.failure_class == "BadInput"


def test_an_old_driver_is_said_before_anything_is_loaded(place: Place) -> None:
    place.cuda("12.8")
    with pytest.raises(JobFailure) as caught:
        verify.run(place.context(server={"maxModelLen": 1}))
    assert (caught.value.failure_class, caught.value.change) == ("DriverTooOld", "otherHost")
    assert "12.8" in caught.value.message and not place.events.read_text()


@pytest.mark.parametrize(
    ("said", "failure_class", "change"),
    [
        (LENGTH_MESSAGE, "ContextTooLong", "shorterContext"),
        ("ValueError: No available memory for the cache blocks. Try increasing", "GpuTooSmall", "largerGpu"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "GpuTooSmall", "largerGpu"),
        (
            "Quantization method specified in the model config (compressed-tensors) does not match the quantization method "
            "specified in the `quantization` argument (awq).",
            "ServerFlagMismatch",
            "dropServerFlag",
        ),
        ("scale_dtype\n  Extra inputs are not permitted [type=extra_forbidden]", "ServerTooOld", "newerServer"),
    ],
)
def test_a_server_that_gives_up_is_understood(place: Place, said: str, failure_class: str, change: str) -> None:
    place.plan(exit=said)
    failure = place.failure()
    assert (failure.failure_class, failure.repeat, failure.change) == (failure_class, "changed", change)
    # A long trace of the other process comes after the cause, and a message keeps its end only.
    kept = Failure(failure.failure_class, failure.message, failure.advice).to_json()["message"]
    assert said.splitlines()[-1][-60:].strip() in kept
    if failure_class == "ContextTooLong":
        assert "estimated maximum model length is 22640" in kept


def test_a_server_that_dies_while_asked_is_understood(place: Place) -> None:
    place.plan(die=True)
    assert place.failure().failure_class == "GpuTooSmall"


def test_a_server_that_never_gets_healthy_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_check, "_START_SECONDS", 1.5)
    place.plan(sick=True)
    failure = place.failure()
    assert (failure.failure_class, failure.repeat) == ("ServerNotReady", "same") and "version 0.27.1" in failure.message


def test_the_deadline_grows_with_the_release() -> None:
    assert (deadline_seconds(0), deadline_seconds(40_000_000_000)) == (600, 1000)


@pytest.mark.parametrize(
    ("plan", "failure_class"),
    [
        ({"answers": {"one?": ""}}, "ServerUnusable"),
        ({"answers": ANSWERS, "logprob": float("nan")}, "NonFiniteLogits"),
        ({"error": "Out of range float values are not JSON compliant: nan"}, "NonFiniteLogits"),
        ({"error": "EngineDeadError"}, "ServerUnusable"),
    ],
)
def test_a_server_without_proper_answers_is_refused(place: Place, plan: dict[str, Any], failure_class: str) -> None:
    place.plan(**plan)
    assert place.failure().failure_class == failure_class


@pytest.mark.parametrize("plan", [{"sick": True}, {"hang": True}])
def test_a_stop_leaves_no_process(place: Place, plan: dict[str, Any]) -> None:
    place.plan(**plan)
    context = place.context()
    reached = place.home / ("requests" if "hang" in plan else "started.json")

    def stop() -> None:
        until(reached.exists)
        context.stop.asked = True

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(JobStopped):
        place.check(context)
    thread.join()
    place.require_nothing_left()


def test_the_death_of_the_job_leaves_no_process(place: Place) -> None:
    place.plan(sick=True)
    program = (
        "import sys; from pathlib import Path; from toolchains.gpu.process_group import running\n"
        "with running(sys.argv[1:], {}, Path('.')): print('up', flush=True); sys.stdin.read()"
    )
    vllm = place.envs / f"serve-{SERVE.key}/bin/vllm"
    command = [sys.executable, "-c", program, str(vllm), "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=JOBS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as job:
        until((place.home / "started.json").exists)
        assert all(alive(pid) for pid in place.started()["pids"])
        job.kill()
    place.require_nothing_left()


def test_the_server_is_the_one_of_the_worker_image() -> None:
    packages = pinned(SERVE.lock)
    assert packages["vllm"] == "0.27.1" and packages["compressed-tensors"] == "0.17.0"
