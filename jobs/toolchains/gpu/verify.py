"""Checks the release by loading it and letting it answer, and lists its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts import manifest
from preflight.machine import memory_available_bytes
from toolchains.gpu import environments, prompt_sets, serve_check
from toolchains.gpu.child import device_of, run_child
from toolchains.gpu.questions import Questions
from toolchains.weights import checkpoint
from toolchains.weights.release_folder import total_bytes

_SHIPPED = Path(__file__).parent / "shipped"
_KL_PROMPTS = 32


def run(context: JobContext) -> dict[str, Any]:
    """Loads work/release and returns greedy answers, the KL to work/merged in nats and the manifest.

    Params: `prompts` (empty = shipped ones), `maxTokens` (24), `maxKlQuantized` (0.1), `thinking` (false: the template is
    told that there is none), `device`, `server` (null, or `{maxModelLen, memoryGb}`: the pinned vLLM must answer from the
    release, too; see `serve_check`, whose finding is then `server` of the result). Reads only, apart from work/verify;
    repeatable. What does not fit into memory is left out and named in `skipped` with the reason: `kl` is then null, and
    `answers` are the server's, or empty; with `answersNeeded` that is `OutOfMemory`. Raises `NonFiniteLogits`, `KlTooLarge`,
    `DamagedWeights`, `DamagedModel`, `NoGpu`, the classes of the failure table and those of `serve_check`.
    """
    paths = context.paths
    questions = _questions(context)
    max_kl = context.number("maxKlQuantized", 0.1)
    server = serve_check.planned(context)
    checkpoint.check(paths.release)
    python = environments.ensure(context, environments.QUANT)
    has_base = (paths.base / "config.json").exists()
    request = {
        "base": str(paths.base) if has_base else None,
        "merged": str(paths.merged),
        "release": str(paths.release),
        "sameAsMerged": _linked(paths.release, paths.merged),
        **questions.to_json(),
        "klPrompts": _kl_prompts(context),
        "bytes": total_bytes(paths.merged),
        "memoryFreeBytes": memory_available_bytes(),
    }
    found = run_child(context, python, "verify_model", request)
    kl = found["kl"]
    if kl is not None and kl > max_kl:
        raise JobFailure(
            "KlTooLarge",
            f"the release differs from the merged model by KL {kl:.4g}, more than {max_kl:g}",
            "Use `quantize: none`, or a smaller group size.",
        )
    served: dict[str, Any] | None = None
    if isinstance(server, serve_check.ServerPlan):
        served = serve_check.check(context, server, questions, found["answers"])
    elif server is not None:
        served = {"skipped": server}
    own = [{"prompt": prompt, "answer": answer} for prompt, answer in zip(questions.prompts, found["answers"], strict=False)]
    answers = own or (served or {}).get("answers", [])
    if not answers and context.param("answersNeeded", bool, False):
        raise _nothing_recorded(found["skipped"]["answers"])
    result: dict[str, Any] = {
        "answers": answers,
        "kl": kl,
        "manifest": manifest.to_json(manifest.build(paths.release)),
        "madeOn": device_of(context),
        "skipped": found["skipped"],
        "versions": found["versions"],
    }
    if found["before"] and own:
        pairs = zip(own, found["before"], strict=True)
        result["beforeAfter"] = [{"prompt": a["prompt"], "before": before, "after": a["answer"]} for a, before in pairs]
    if served is not None:
        result["server"] = served
    paths.verify.mkdir(parents=True, exist_ok=True)
    atomic.write_json(paths.verify / "verified.json", result)
    return result


def _nothing_recorded(reason: str) -> JobFailure:
    """An endpoint is tested by asking it what was asked here: to publish now would only put the failure off."""
    return JobFailure(
        "OutOfMemory",
        f"no answers could be recorded: {reason}",
        "Use a GPU or a host with more memory, or let vLLM answer with `serve.checkOnPod: true`.",
        repeat="changed",
        change="moreHostMemory",
    )


def _questions(context: JobContext) -> Questions:
    prompts: list[str] = context.param("prompts", list, []) or prompt_sets.lines_of(_SHIPPED / "verify.txt")
    if not all(isinstance(prompt, str) and prompt for prompt in prompts):
        raise JobFailure("BadInput", "prompts must be non-empty texts", "Correct the request.")
    return Questions(prompts, context.param("maxTokens", int, 24), context.param("thinking", bool, False))


def _linked(release: Path, merged: Path) -> bool:
    """True when the release is the merged model itself: the same files, by hard links."""
    shards = checkpoint.shard_paths(release)
    return all((merged / shard.name).exists() and shard.samefile(merged / shard.name) for shard in shards)


def _kl_prompts(context: JobContext) -> list[str]:
    """Held-out harmless prompts where the pod has them, else the shipped ones."""
    held_out = prompt_sets.path_of(context, "goodEval")
    path = held_out if held_out.exists() else _SHIPPED / "calibration.txt"
    return prompt_sets.lines_of(path)[:_KL_PROMPTS]
