"""Ablation on the rehearsal model: direction, search over trials, choice, adapter."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import digest_file, sha256_of
from artifacts.manifest import digest_of
from toolchains.rehearsal import prompt_files
from toolchains.rehearsal.ablation_math import HeldOut, ablated, find_direction, last_residuals, measure, target_names
from toolchains.rehearsal.chat import Chat
from toolchains.rehearsal.decoder import Decoder
from toolchains.rehearsal.trial_journal import Trial, TrialJournal
from toolchains.weights import checkpoint
from toolchains.weights.number_formats import Float32
from toolchains.weights.safetensors_io import Tensor, write_tensors


def run(context: JobContext) -> dict[str, Any]:
    """Searches `trials` trials and writes the best allowed one as an adapter.

    Params: `trials`, `seed`, `maxKl` (nats), `prompts` (null = shipped sets), `trialSeconds` or `minTrialSeconds` (least
    duration of a trial in seconds, default 0; for rehearsals that need a long job). Idempotency: the journal; a trial
    index is never run twice for the same base, prompts and seed. Raises `NoTrialWithinKl` when no trial is allowed.
    """
    trials = context.param("trials", int)
    seed = context.param("seed", int, 1)
    max_kl = context.number("maxKl", 0.5)
    trial_seconds = context.number("trialSeconds", context.number("minTrialSeconds", 0.0))
    if trials < 1:
        raise JobFailure("BadInput", "trials must be at least 1", "Correct the request.")
    sets = prompt_files.ablation_sets(context)
    digests = {key: prompt_files.digest(lines) for key, lines in sets.items()}
    paths = context.paths
    context.events.progress("load", 0, 1, "models")
    decoder, chat = Decoder.load(paths.base), Chat(paths.base)
    context.events.progress("load", 1, 1, "models")
    ids = {key: [chat.prompt_ids(line) for line in lines] for key, lines in sets.items()}
    layer, direction = find_direction(last_residuals(decoder, ids["good"]), last_residuals(decoder, ids["bad"]))
    held_out = HeldOut(ids["goodEval"], ids["badEval"], [decoder.forward(prompt)[0] for prompt in ids["goodEval"]])
    base = measure(decoder, held_out, direction)
    weights = {path.name: sha256_of(path) for path in checkpoint.shard_paths(paths.base)}
    journal = TrialJournal(paths.journal, {"version": 1, "seed": seed, "weights": weights, "prompts": digests})
    for index in range(len(journal.trials), trials):
        context.check_stop()
        started = time.monotonic()
        trial = _trial(decoder, held_out, direction, seed, index)
        # The wait ends early on a stop, but the trial is whole: its figures do not depend on the wait.
        context.wait(trial_seconds - (time.monotonic() - started))
        journal.append(trial)
        best = choose(journal.trials, max_kl)
        context.events.trial(
            index=index, total=trials, kl=trial.kl, projection=trial.projection, strength=trial.strength, best=best == trial
        )
        context.events.progress("trials", index + 1, trials, "trials")
        if best == trial:
            _write_best(context, best)
    context.check_stop()
    chosen = choose(journal.trials[:trials], max_kl)
    if chosen is None:
        least = min(trial.kl for trial in journal.trials[:trials])
        raise JobFailure(
            "NoTrialWithinKl",
            f"none of {trials} trials stayed within KL {max_kl:g}; the least was {least:.4g}",
            "Run more trials, allow a larger KL, or use other prompts.",
        )
    files = _write_adapter(context, decoder, direction, layer, chosen)
    return {
        "trialsCompleted": trials,
        "chosen": {
            "index": chosen.index,
            "kl": chosen.kl,
            "projection": chosen.projection,
            "baseProjection": base.projection,
            "strength": chosen.strength,
            "firstLayer": chosen.first_layer,
        },
        "directionLayer": layer,
        "adapter": files,
        "journalSha256": sha256_of(paths.journal),
        "promptDigests": digests,
    }


def _trial(decoder: Decoder, held_out: HeldOut, direction: Float32, seed: int, index: int) -> Trial:
    # One generator per index: a resumed search draws exactly what an uninterrupted one would have drawn.
    random = np.random.default_rng([seed, index])
    strength = round(float(random.uniform(0.2, 1.0)), 6)
    first_layer = int(random.integers(0, max(1, decoder.config.layers // 2)))
    measured = measure(ablated(decoder, direction, strength, first_layer), held_out, direction)
    return Trial(index, strength, first_layer, measured.kl, measured.projection)


def choose(trials: list[Trial], max_kl: float) -> Trial | None:
    """The policy: smallest held-out projection among trials with KL within the limit; the earliest of equals."""
    allowed = [trial for trial in trials if trial.kl <= max_kl]
    return min(allowed, key=lambda trial: (trial.projection, trial.index), default=None)


def _write_best(context: JobContext, best: Trial) -> None:
    path = context.paths.ablate / "best.json"
    atomic.write_json(path, {"index": best.index, "kl": best.kl, "projection": best.projection, "strength": best.strength})
    context.events.checkpoint("journal", "work/ablate/journal.jsonl", sha256_of(context.paths.journal))


def _write_adapter(context: JobContext, decoder: Decoder, direction: Float32, layer: int, chosen: Trial) -> dict[str, Any]:
    """Writes the adapter in PEFT's layout; repeatable, the same trial gives the same bytes."""
    folder = context.paths.adapter
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    modules = [name.removesuffix(".weight") for name in target_names(decoder.config.layers, chosen.first_layer)]
    for module in modules:
        row = (direction @ decoder.weights[f"{module}.weight"])[None, :]
        column = (-np.float32(chosen.strength) * direction)[:, None]
        tensors[f"base_model.model.{module}.lora_A.weight"] = Tensor("F32", row)
        tensors[f"base_model.model.{module}.lora_B.weight"] = Tensor("F32", column)
    write_tensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    write_tensors(folder / "direction.safetensors", {"direction": Tensor("F32", direction)}, {"layer": str(layer)})
    config = {
        "base_model_name_or_path": None,
        "bias": "none",
        "lora_alpha": 1,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": 1,
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
    }
    atomic.write_json(folder / "adapter_config.json", config)
    names = ("adapter_config.json", "adapter_model.safetensors", "direction.safetensors")
    files = [digest_file(folder, name) for name in names]
    context.events.checkpoint("adapter", "work/ablate/adapter/adapter_model.safetensors", files[1].sha256)
    return {"files": [file.to_json() for file in files], "digest": digest_of(files)}
