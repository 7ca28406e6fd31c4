"""What the GPU toolchain needs before the base model is downloaded: checks, environments, prompt sets."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from hub.download import ignored
from hub.patience import patiently
from preflight.hub import look_at_hub, read_config
from toolchains.gpu import environments, prompt_sets, serve_check
from toolchains.gpu.child import device_of, run_child
from toolchains.gpu.driver import require_cuda
from toolchains.gpu.environments import Environment
from toolchains.gpu.failure_table import known
from toolchains.gpu.model_facts import ModelFacts, facts_of
from toolchains.gpu.quantize import group_size_for, require_supported

# PyPI's wheels of torch 2.9.1 and 2.10.0 are CUDA 12.8 builds; any driver of CUDA 12 runs them.
_CUDA_MAJOR = 12
# A machine may report a little less than it is sold as; activities/lib/host-memory.ts allows the same.
_SOLD_AS = 0.97


def before_download(context: JobContext, api: Any, found: dict[str, Any], repository: str, commit: str) -> dict[str, Any]:
    """Looks, refuses what cannot end well, and makes environments and prompt files. Returns facts for the result.

    Params: `ablated` (true: environments and prompts of an ablation are made), `precision`, `quantize` (`method`,
    `groupSize`), `prompts` and `calibration` (per set: null = heretic's default set, a list of texts, a data set's id, or
    `{dataset, revision, split, column}`; where nothing is ablated, the harmless `prompts` of an ablation elsewhere are what AWQ
    calibrates by, unless `calibration` is given), `server` (true: verify will ask the pinned vLLM on this pod), `device`.
    Idempotent. With `device: cpu` the checks of the machine are left out and the result carries `madeOn: cpu`. Raises
    `NoGpu`, `GpuBusy`, `DriverTooOld`, `HostMemoryTooSmall`, `CudaNotVisible`, `NoBfloat16`, `GpuTooSmall`, `OwnCode`,
    `UnknownArchitecture`, `UnsupportedModel`, `GroupSizeMismatch`, and what environments and Hub raise.
    """
    device, ablated = device_of(context), context.param("ablated", bool, True)
    served = device == "cuda" and context.param("server", bool, False)
    if device == "cuda":
        require_cuda(found, _CUDA_MAJOR, "torch", "Use another host (`minCudaVersion`).")
        _require_host_memory(context, found)
    if served:
        serve_check.require_host(found)
    hub = look_at_hub(context, api, repository, commit)
    facts = facts_of(read_config(context, api, repository, commit))
    group_size = _require_quantizable(context, facts)
    if device == "cuda" and ablated:
        _require_fitting_gpu(context, found, _weight_bytes(context, api, repository, commit))
    needed = [*([environments.ABLATE] if ablated else []), environments.QUANT, *([environments.SERVE] if served else [])]
    probes = {environment.name: _probe(context, environment, facts) for environment in needed}
    prompts = _bring_prompts(context, api, ablated)
    environments.forget_downloads()
    return {
        "hub": hub,
        "model": {**facts.to_json(), "groupSize": group_size},
        "environments": probes,
        "prompts": prompts,
        "madeOn": device,
    }


def _require_quantizable(context: JobContext, facts: ModelFacts) -> int | None:
    wanted = context.param("quantize", dict, {})
    if wanted.get("method", "none") != "awq":
        return None
    require_supported(facts)
    return group_size_for(facts.widths, int(wanted.get("groupSize") or 128)) if facts.widths else None


def _weight_bytes(context: JobContext, api: Any, repository: str, commit: str) -> int:
    def listed() -> int:
        entries = api.list_repo_tree(repository, recursive=True, revision=commit)
        return sum(entry.size for entry in entries if entry.path.endswith(".safetensors") and not ignored(entry.path))

    return patiently(context, repository, listed)


def _require_fitting_gpu(context: JobContext, found: dict[str, Any], weight_bytes: int) -> None:
    # nf4 with its scales, and embeddings in 16 bits: 0.28 to 0.34 of the 16-bit size.
    factor = 0.3 if context.param("precision", str, "bf16") == "bnb_4bit" else 1.0
    if found["gpuMemoryBytes"] < weight_bytes * factor:
        raise known(
            "GpuTooSmall",
            f"the weights take {int(weight_bytes * factor)} bytes, the GPUs have {found['gpuMemoryBytes']}",
            "Use a GPU with more memory, or `precision: bnb_4bit`. The rest would go to host memory, silently and slowly.",
        )
    if found["gpuFreeBytes"] < weight_bytes * factor:
        raise known(
            "GpuBusy",
            f"the weights take {int(weight_bytes * factor)} bytes, and {found['gpuFreeBytes']} of the GPUs' memory are free",
            "Something else uses the host's GPU. Continue on another host.",
        )


def _require_host_memory(context: JobContext, found: dict[str, Any]) -> None:
    """Param `needs.hostMemoryBytes`: what the plan rented the pod for; absent = whatever there is."""
    needed = context.param("needs", dict, {}).get("hostMemoryBytes") or 0
    if found["memoryLimitBytes"] < needed * _SOLD_AS:
        raise JobFailure(
            "HostMemoryTooSmall",
            f"the pod may use {found['memoryLimitBytes']} bytes of host memory, {needed} are needed",
            "Use a host with more memory; if it repeats, list GPUs with more under compute.gpus.",
            repeat="changed",
            change="otherHost",
        )


def _probe(context: JobContext, environment: Environment, facts: ModelFacts) -> dict[str, Any]:
    python = environments.ensure(context, environment)
    seen = run_child(context, python, "probe", {"modelType": facts.model_type})
    if not seen["knowsArchitecture"]:
        if facts.own_code:
            raise JobFailure(
                "OwnCode",
                f"{facts.model_type} needs the repository's own code, which is not run",
                "Use another model.",
            )
        raise JobFailure(
            "UnknownArchitecture",
            f"transformers {seen['transformers']} does not know {facts.model_type}",
            "Use another model, or a newer lock.",
        )
    if device_of(context) == "cuda":
        if not seen["cudaVisible"]:
            raise JobFailure(
                "CudaNotVisible",
                f"torch {seen['torch']} (CUDA {seen['cuda']}) sees no GPU in the environment {environment.name}",
                "The driver does not fit this build: use another host.",
                repeat="changed",
                change="otherHost",
            )
        if not seen["bf16"]:
            raise JobFailure("NoBfloat16", "the GPU has no bfloat16", "Use a GPU of the Ampere generation or newer.")
    return seen


# Prompt sets


def _bring_prompts(context: JobContext, api: Any, ablated: bool) -> dict[str, Any]:
    given = context.param("prompts", dict, {})
    wanted: dict[str, Any] = {name: given.get(name) for name in prompt_sets.SETS} if ablated else {}
    calibration = context.params.get("calibration")
    if calibration is not None:
        wanted[prompt_sets.CALIBRATION] = calibration
    elif given and context.param("quantize", dict, {}).get("method") == "awq":
        # A pod that only quantizes calibrates by what an ablation on it would have left there.
        wanted |= {name: given.get(name) for name in prompt_sets.HARMLESS}
    return {name: _bring(context, api, name, value) for name, value in wanted.items()}


def _bring(context: JobContext, api: Any, name: str, value: object) -> dict[str, Any]:
    lines = prompt_sets.lines_given(value, name)
    if lines is not None:
        return prompt_sets.store(context, name, lines, {"source": "given"})
    asked = data_set_of(name, value)
    stored = atomic.read_json(prompt_sets.folder(context) / f"{name}.json") or {}
    # A set that is on the pod stays: the trials of a resumed search must be measured on the same prompts.
    if stored.get("asked") == asked and prompt_sets.path_of(context, name).exists():
        return stored
    repository = asked["dataset"]

    def resolve() -> str:
        sha: str = api.dataset_info(repository, revision=asked["revision"]).sha
        return sha

    commit = patiently(context, repository, resolve)
    place = prompt_sets.folder(context) / ".sources" / hashlib.sha256(f"{repository}@{commit}".encode()).hexdigest()[:16]
    patiently(
        context,
        repository,
        lambda: api.snapshot_download(repository, repo_type="dataset", revision=commit, local_dir=place),
    )
    python = environments.ensure(context, environments.QUANT)
    request = {"folder": str(place), "split": asked["split"], "column": asked["column"]}
    found = run_child(context, python, "read_dataset", request)
    return prompt_sets.store(context, name, found["lines"], {"source": "hub", "asked": asked, "commit": commit})


def data_set_of(name: str, value: object) -> dict[str, Any]:
    """Data set, revision (null = newest), split and column that a request means. Raises `BadInput`."""
    defaults = prompt_sets.DEFAULTS.get(name, {"split": "train[:256]", "column": "text"})
    if value is None:
        value = {}
    elif isinstance(value, str):
        value = {"dataset": value}
    if not isinstance(value, dict):
        raise JobFailure("BadInput", f"prompts.{name} is neither a list of texts nor a data set", "Correct the prompt sets.")
    asked = {"revision": None, **defaults, **{key: text for key, text in value.items() if text is not None}}
    if asked.keys() != {"dataset", "revision", "split", "column"} or not re.fullmatch(r"[\w.-]+/[\w.-]+", asked["dataset"]):
        raise JobFailure("BadInput", f"prompts.{name} does not name a data set of the Hub", "Write <owner>/<name>.")
    return asked
