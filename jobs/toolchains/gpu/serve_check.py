"""Starts the server that will serve the release, the vLLM of the locked `serve` environment, and lets it answer."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from preflight import machine
from toolchains.gpu import environments
from toolchains.gpu.child import device_of, offline
from toolchains.gpu.driver import require_cuda
from toolchains.gpu.failure_table import diagnose, known
from toolchains.gpu.process_group import Group, running
from toolchains.gpu.questions import Questions
from toolchains.gpu.vllm_client import MODEL, Client
from toolchains.weights.release_folder import total_bytes

_T = TypeVar("_T")
_UTILIZATION = 0.9  # vLLM's and the worker's default
_GIGABYTE = 1_000_000_000
_READ_BYTES_PER_SECOND = 100_000_000
# Imports, kernels compiled for this GPU, CUDA graphs.
_START_SECONDS = 600.0
_CUDA_MAJOR = 13  # torch of the lock
_POLL_SECONDS = 0.2
# From 70 GiB on vLLM 0.27 plans for more at once, which takes more memory (EngineArgs); smaller GPUs get these.
_LARGE_BYTES = 70 * 2**30
_SMALL_GPU_DEFAULTS = ("--max-num-batched-tokens", "2048", "--max-num-seqs", "256")


@dataclass(frozen=True)
class ServerPlan:
    """What the server is started with. `utilization`: share of the GPU's memory that it may take."""

    max_model_len: int
    utilization: float
    # Whether vLLM will take its defaults for smaller GPUs where the release is served.
    small: bool = False


def planned(context: JobContext) -> ServerPlan | str | None:
    """Param `server`: null, or `{maxModelLen, memoryGb}` with `memoryGb` (10^9 bytes, or null) of the GPU that will serve.

    Returns the reason instead of a plan where the check cannot be made. Raises `BadInput`, `NoGpu` and `DriverTooOld`, before
    any time goes into loading models.
    """
    wanted: dict[str, Any] = context.param("server", dict, {})
    if context.params.get("server") is None:
        return None
    length, memory_gb = wanted.get("maxModelLen"), wanted.get("memoryGb")
    if not isinstance(length, int) or isinstance(length, bool) or length < 1 or not _is_amount(memory_gb):
        raise JobFailure("BadInput", "server must be {maxModelLen, memoryGb} with positive numbers", "Correct the request.")
    if device_of(context) == "cpu":
        return "vLLM's wheel needs CUDA, and this job runs on a CPU"
    require_host(machine.preflight(context.paths.work))
    # Without further settings vLLM uses the first GPU alone.
    total = machine.gpus_here()[0].memory_bytes
    share = _UTILIZATION if memory_gb is None else min(_UTILIZATION, memory_gb * _GIGABYTE / total)
    return ServerPlan(length, share, small=memory_gb is not None and memory_gb * _GIGABYTE < _LARGE_BYTES * _UTILIZATION)


def require_host(found: dict[str, Any]) -> None:
    """Whether the pinned vLLM can start here at all; `found`: preflight of the machine. Raises `NoGpu`, `DriverTooOld`."""
    advice = "Use a host with a newer driver (`minCudaVersion`), or leave the check by the server out."
    require_cuda(found, _CUDA_MAJOR, "vLLM", advice)


def check(context: JobContext, plan: ServerPlan, questions: Questions, own: list[str]) -> dict[str, Any]:
    """Serves work/release on this machine and asks all questions; `own` are verify's answers, empty where it has none.

    Returns `vllm` (version), `maxModelLen`, `gpuMemoryUtilization`, `answers`, `equal` (null without own answers) and
    `seconds`. Repeatable; the server and all it started are gone afterwards. Raises `ServerNotReady`, `ServerUnusable`,
    `NonFiniteLogits`, the classes of environments.ensure and of the failure table; `JobStopped` after a stop.
    """
    python = environments.ensure(context, environments.SERVE)
    environments.forget_downloads()
    started = time.monotonic()
    context.paths.verify.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [str(python.with_name("vllm")), *arguments(context.paths.release, plan, port)]
    kills_before = machine.oom_kills()
    with running(command, _settings(python), context.paths.verify) as group:
        server = _Server(context, group, Client(port), kills_before)
        server.wait_until_healthy(deadline_seconds(total_bytes(context.paths.release)))
        version = server.ask(server.client.version)
        answers = []
        for number, prompt in enumerate(questions.prompts, start=1):
            answers.append(server.answer(prompt, questions))
            context.events.progress("ask server", number, len(questions.prompts), "prompts")
    return {
        "vllm": version,
        "maxModelLen": plan.max_model_len,
        "gpuMemoryUtilization": round(plan.utilization, 4),
        "answers": [{"prompt": prompt, "answer": answer} for prompt, answer in zip(questions.prompts, answers, strict=True)],
        "equal": answers == own if own else None,
        "seconds": round(time.monotonic() - started, 1),
    }


def deadline_seconds(release_bytes: int) -> float:
    """How long the server may take until it is healthy: weights from a slow volume, and ten minutes."""
    return _START_SECONDS + release_bytes / _READ_BYTES_PER_SECOND


def server_failure(tail: str, code: int, *, oom_kills: int = 0) -> JobFailure:
    """What ended the server. Out of GPU memory means a larger GPU here: there is no batch that could be made smaller."""
    found = diagnose(tail, code, oom_kills=oom_kills)
    if found.change == "smallerBatch":
        return known("GpuTooSmall", found.message, "The release does not fit on the GPU. Use a GPU with more memory.")
    return found.failure()


@dataclass
class _Server:
    """The running server, watched at every step."""

    context: JobContext
    group: Group
    client: Client
    kills_before: int

    def wait_until_healthy(self, seconds: float) -> None:
        started, seen = time.monotonic(), -1
        while not self.client.healthy():
            self._require_running()
            waited = time.monotonic() - started
            if waited > seconds:
                raise JobFailure(
                    "ServerNotReady",
                    f"vLLM is not healthy after {waited:.0f} s\n{self.group.tail.text()}",
                    "Start the stage again; if it repeats, log.txt on the pod shows where vLLM waits.",
                    repeat="same",
                )
            if self.group.said_bytes > seen:
                # Only when it has printed something: a server that hangs is to look like one.
                seen = self.group.said_bytes
                self.context.events.progress("start server", min(waited, seconds), seconds, "seconds", "of the time it may take")
            self.context.wait(_POLL_SECONDS)
        self.context.events.progress("start server", seconds, seconds, "seconds")

    def answer(self, prompt: str, questions: Questions) -> str:
        return self.ask(lambda: self.client.answer(prompt, questions))

    def ask(self, question: Callable[[], _T]) -> _T:
        """The answer to one question; a stop or the server's end is noticed meanwhile."""
        answers: list[_T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                answers.append(question())
            except BaseException as error:
                errors.append(error)

        # Not waited for after a stop: the end of the server closes its connection.
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while thread.is_alive():
            self._require_running()
            thread.join(_POLL_SECONDS)
        if errors:
            # A server that just ended closes its connections first; its own words name the cause.
            self.context.wait(_POLL_SECONDS)
            self._require_running()
            raise errors[0]
        return answers[0]

    def _require_running(self) -> None:
        self.context.check_stop()
        if not self.group.running():
            ended = self.group.ended()
            raise server_failure(ended.tail, ended.code, oom_kills=machine.oom_kills() - self.kills_before)


def arguments(release: Path, plan: ServerPlan, port: int) -> list[str]:
    """What `vllm` is started with."""
    # No quantization flag: the files say themselves what they are. Rounded down, never up to what the GPU does not have.
    share = math.floor(plan.utilization * 10_000) / 10_000
    return [
        *("serve", str(release)),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--served-model-name", MODEL),
        *("--max-model-len", str(plan.max_model_len)),
        *("--gpu-memory-utilization", str(share)),
        *(_SMALL_GPU_DEFAULTS if plan.small else ()),
    ]


def _settings(python: Path) -> dict[str, str]:
    # Kernels that are compiled at the start need the environment's own programs.
    path = f"{python.parent}:{os.environ.get('PATH', os.defpath)}"
    # FlashInfer's sampler is compiled with the image's CUDA, which may be another one; greedy answers do without it.
    return {**offline(), "PATH": path, "VLLM_NO_USAGE_STATS": "1", "VLLM_USE_FLASHINFER_SAMPLER": "0"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_amount(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf)
