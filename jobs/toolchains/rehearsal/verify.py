"""Checks the release by decoding from it, records its answers and lists its files."""

from __future__ import annotations

from typing import Any

import numpy as np

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts import manifest
from toolchains.rehearsal import prompt_files
from toolchains.rehearsal.chat import Chat
from toolchains.rehearsal.decoder import Decoder, kl_divergence
from toolchains.rehearsal.generation import greedy
from toolchains.weights import checkpoint


def run(context: JobContext) -> dict[str, Any]:
    """Loads work/release and returns greedy answers, the KL to work/merged in nats and the manifest.

    Params: `prompts` (empty = shipped ones), `maxTokens`, `thinking`, `maxKlQuantized`. Reads only, apart from work/verify;
    repeatable with equal results. Raises `NonFiniteLogits`, `KlTooLarge`, `DamagedWeights` or `DamagedModel`.
    """
    paths = context.paths
    prompts: list[str] = context.param("prompts", list, []) or prompt_files.lines_of("verify")
    if not all(isinstance(prompt, str) and prompt for prompt in prompts):
        raise JobFailure("BadInput", "prompts must be non-empty texts", "Correct the request.")
    max_tokens = context.param("maxTokens", int, 24)
    thinking = context.param("thinking", bool, False)
    max_kl = context.number("maxKlQuantized", 0.5)
    checkpoint.check(paths.release)
    release, chat = Decoder.load(paths.release), Chat(paths.release)
    merged = Decoder.load(paths.merged)
    kl = _divergence(context, merged, release, chat)
    if kl > max_kl:
        raise JobFailure(
            "KlTooLarge",
            f"the release differs from the merged model by KL {kl:.4g}, more than {max_kl:g}",
            "Use `quantize: none`.",
        )
    before = Decoder.load(paths.base) if (paths.base / "config.json").exists() else None
    answers: list[dict[str, str]] = []
    compared: list[dict[str, str]] = []
    for number, prompt in enumerate(prompts, start=1):
        context.check_stop()
        ids = chat.prompt_ids(prompt, thinking=thinking)
        answer = chat.decode(greedy(release, ids, max_tokens))
        answers.append({"prompt": prompt, "answer": answer})
        if before is not None:
            compared.append({"prompt": prompt, "before": chat.decode(greedy(before, ids, max_tokens)), "after": answer})
        context.events.progress("answers", number, len(prompts), "prompts")
    result: dict[str, Any] = {
        "answers": answers,
        "kl": kl,
        "manifest": manifest.to_json(manifest.build(paths.release)),
        "madeOn": "rehearsal",
    }
    if compared:
        result["beforeAfter"] = compared
    paths.verify.mkdir(parents=True, exist_ok=True)
    atomic.write_json(paths.verify / "verified.json", result)
    return result


def _divergence(context: JobContext, merged: Decoder, release: Decoder, chat: Chat) -> float:
    """Mean first-token KL(merged || release) over the held-out prompts; also proves that all logits are finite."""
    values: list[float] = []
    prompts = prompt_files.lines_of("good_eval") + prompt_files.lines_of("bad_eval")
    for number, prompt in enumerate(prompts, start=1):
        context.check_stop()
        ids = chat.prompt_ids(prompt)
        logits, _ = release.forward(ids)
        if not np.isfinite(logits).all():
            raise JobFailure("NonFiniteLogits", "the release gives numbers that are not finite", "Merge and quantize again.")
        values.append(kl_divergence(merged.forward(ids)[0], logits))
        context.events.progress("compare", number, len(prompts), "prompts")
    return float(np.mean(values))
