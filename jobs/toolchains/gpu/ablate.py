"""Ablation by heretic 1.4.0, an unmodified separate program: search, choice by policy, adapter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import digest_file, sha256_of
from artifacts.manifest import digest_of
from preflight.machine import gpus_here, oom_kills
from toolchains.gpu import environments, heretic_journal, prompt_sets
from toolchains.gpu.child import device_of
from toolchains.gpu.failure_table import Diagnosis, diagnose, known
from toolchains.gpu.heretic_config import CHECKPOINTS, HereticSettings
from toolchains.gpu.heretic_console import Console
from toolchains.gpu.heretic_journal import Search, Trial
from toolchains.gpu.heretic_session import Plan, SessionEnd, run_session
from toolchains.gpu.model_facts import facts_of
from toolchains.weights import checkpoint, lora_merge

TOOL = "heretic-llm 1.4.0"
_MAX_FRUITLESS_CRASHES = 3
# From heretic's own 128 down to 1.
_MAX_SMALLER_BATCHES = 7
# Far apart, so that the seeds of neighbouring runs stay different from those of a run's own restarts.
_SEED_STEP = 1_000_003
_SEED_LIMIT = 2**32
_EXPORT = "adapter.new"


def run(context: JobContext) -> dict[str, Any]:
    """Searches `trials` trials, chooses the one with fewest refusals within `maxKl` and writes it as work/ablate/adapter.

    Params: `trials`, `seed`, `maxKl` (nats), `precision` (`bf16`, `bnb_4bit`), `prompts` (null = what prepare brought;
    lists of texts are written), `requireFewerRefusals` (false; true: the choice must decline less often than the base),
    `maxBatchSize` (128), `maxResponseTokens` (100), `responsePrefix`, `device`. Idempotency:
    heretic's journal in work/ablate/checkpoints; finished trials are never run again, and a finished search with its
    adapter is only looked at. A crash is continued with another seed (heretic's sampler would repeat its draws), at most
    three times without a new trial. A stop saves the best so far. Raises `NoTrialWithinKl`, `NoLessRefusals` (the adapter is
    in place all the same), `NoGpu`, `UnsupportedModel`, `PromptsMissing` and the classes of the failure table.
    """
    return _Ablation(context).to_end()


class _Ablation:
    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._trials = context.param("trials", int)
        self._seed = context.param("seed", int, 1)
        self._max_kl = context.number("maxKl", 0.5)
        self._precision = context.param("precision", str, "bf16")
        self._batch_cap = context.param("maxBatchSize", int, 128)
        self._batch_note = context.paths.work / "batch-limit.json"
        self._device = device_of(context)
        if self._trials < 1 or self._batch_cap < 1 or self._precision not in ("bf16", "bnb_4bit"):
            raise JobFailure("BadInput", "trials, maxBatchSize or precision is out of range", "Correct the request.")
        self._folder = context.paths.ablate
        self._checkpoints = self._folder / CHECKPOINTS
        self._facts = facts_of(checkpoint.read_object(context.paths.base / "config.json"))
        self._prompts = prompt_sets.require_sets(context)
        self._told: set[int] = set()
        self._journal_mark: tuple[int, int] | None = None
        self._search = Search()
        self._saved_best: int | None = None
        self._lines_told = -1

    def to_end(self) -> dict[str, Any]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._claim()
        self._remember_batch()
        heretic = environments.ensure(self._context, environments.ABLATE).with_name("heretic")
        self._mend()
        self._told = {trial.index for trial in self._search.trials}
        if (done := self._finished_adapter()) is not None:
            return self._result(done)
        fruitless, smaller = 0, 0
        while True:
            self._context.check_stop()
            if len(self._search.trials) >= self._trials and self._choice() is None:
                raise self._none_allowed()
            before = len(self._search.trials)
            self._prepare_session(fruitless + smaller)
            kills = oom_kills()
            session = run_session(self._context, self._plan(heretic))
            self._mend()
            if session.saved and session.chosen is not None:
                self._install(session.chosen)
                self._context.check_stop()
                return self._result(session.chosen)
            self._context.check_stop()
            if session.chosen is None and session.code == 0 and self._choice() is None and self._search.trials:
                raise self._none_allowed()
            found = diagnose(session.tail, session.code, oom_kills=oom_kills() - kills)
            if found.change == "smallerBatch" and smaller < _MAX_SMALLER_BATCHES and self._smaller_batch(session):
                smaller += 1
                self._report_restart(found, f"batch size at most {self._batch_cap}")
                continue
            fruitless = 0 if len(self._search.trials) > before else fruitless + 1
            if not _may_resume(found) or fruitless >= _MAX_FRUITLESS_CRASHES:
                raise found.failure()
            self._report_restart(found, f"attempt {fruitless + 1}")

    # What the search belongs to

    def _claim(self) -> None:
        """Sets aside the journal of another base, prompt set, precision or seed: its trials measured something else."""
        identity = {
            "version": 1,
            "tool": TOOL,
            "base": _base_identity(self._context.paths.base),
            "prompts": self._prompts,
            "precision": self._precision,
            "seed": self._seed,
        }
        note = self._folder / "search.json"
        if atomic.read_json(note) != identity:
            if self._checkpoints.exists():
                heretic_journal.set_aside(self._checkpoints)
            shutil.rmtree(self._folder / "adapter", ignore_errors=True)
            (self._folder / "chosen.json").unlink(missing_ok=True)
        atomic.write_json(note, identity)

    def _mend(self) -> None:
        """Brings the journal into a state heretic can start from, and reads it."""
        heretic_journal.clear_locks(self._checkpoints)
        journal = heretic_journal.find(self._checkpoints)
        if journal is not None:
            heretic_journal.mend(journal)
            if not heretic_journal.usable(journal):
                journal.unlink()
                journal = None
        self._search = heretic_journal.read(journal) if journal is not None else Search()

    # One session

    def _prepare_session(self, restart: int) -> None:
        """Writes config.toml and changes the stored settings, which win over it when a search is continued."""
        search, journal = self._search, heretic_journal.find(self._checkpoints)
        # Killed and repeated trials count for heretic; they must not cost wanted ones.
        planned = max(self._trials + search.unfinished + search.duplicates, search.started)
        if len(search.trials) - search.duplicates >= self._trials:
            planned = search.started
        seed = (self._seed + _SEED_STEP * (search.started + restart)) % _SEED_LIMIT
        settings = HereticSettings(
            # Relative to work/ablate: the journal's name is made of it, and another pod may have another workspace.
            model="../base",
            prompts={name: f"../prompts/{name}.txt" for name in prompt_sets.SETS},
            trials=planned,
            seed=self._seed if journal is None and restart == 0 else seed,
            precision=self._precision,
            max_batch_size=self._batch_cap,
            max_response_tokens=self._context.param("maxResponseTokens", int, 100),
            response_prefix=self._context.params.get("responsePrefix"),
        )
        shutil.rmtree(self._folder / _EXPORT, ignore_errors=True)
        atomic.write_bytes(self._folder / "config.toml", settings.to_toml().encode())
        if journal is not None:
            stored = (search.settings or {}).get("batch_size", 0)
            # The size is probed again up to the stored limit, which is as old as the search.
            batch = {"batch_size": 0} if stored > self._batch_cap else {}
            changes = {"n_trials": planned, "seed": seed, "max_batch_size": self._batch_cap, **batch}
            heretic_journal.change_settings(journal, changes, finished=search.started >= planned)

    def _plan(self, heretic: Path) -> Plan:
        return Plan(
            command=[str(heretic)],
            folder=self._folder,
            export_to=_EXPORT,
            device=self._device,
            has_experts=self._facts.experts > 0,
            choose=self._choice_now,
            look=self._look,
        )

    def _choice(self) -> Trial | None:
        return heretic_journal.choose(self._search.trials, self._max_kl)

    def _choice_now(self) -> Trial | None:
        journal = heretic_journal.find(self._checkpoints)
        if journal is not None:
            self._search = heretic_journal.read(journal)
        return self._choice()

    def _look(self, console: Console) -> None:
        """Tells progress: the journal while trials run, heretic's lines before."""
        events = self._context.events
        if not console.trials_began:
            # Only what is new: a stall is recognised by silence.
            if self._lines_told != console.lines:
                self._lines_told = console.lines
                events.progress(console.phase, 0, 1, "steps")
            return
        journal = heretic_journal.find(self._checkpoints)
        if journal is None:
            return
        status = journal.stat()
        if self._journal_mark == (mark := (status.st_size, status.st_mtime_ns)):
            return
        self._journal_mark = mark
        self._search = heretic_journal.read(journal)
        best = self._choice()
        for trial in self._search.trials:
            if trial.index in self._told:
                continue
            self._told.add(trial.index)
            events.emit(
                "trial",
                index=trial.index,
                total=self._trials,
                kl=trial.kl,
                refusals=trial.refusals,
                baseRefusals=trial.base_refusals,
                prompts=trial.prompts,
                best=trial == best,
            )
            remaining = f"about {console.remaining} left" if console.remaining else None
            events.progress("trials", min(len(self._told), self._trials), self._trials, "trials", remaining)
        if best is not None and best.index != self._saved_best:
            self._saved_best = best.index
            events.checkpoint("journal", f"work/ablate/{CHECKPOINTS}/{journal.name}", sha256_of(journal))

    def _smaller_batch(self, session: SessionEnd) -> bool:
        """Halves the cap from where this GPU failed. The note stays on the pod, where it is true, and not in the search."""
        # Out of memory before there was a size: no smaller one would be reached either.
        size = session.batch_size or (self._search.settings or {}).get("batch_size") or 1
        reached = min(self._batch_cap, size)
        self._batch_cap = reached // 2
        atomic.write_json(self._batch_note, {**self._circumstances(), "largest": self._batch_cap})
        return reached > 1

    def _circumstances(self) -> dict[str, Any]:
        # A volume may meet another GPU.
        return {"precision": self._precision, "gpus": [gpu.name for gpu in gpus_here()]}

    def _remember_batch(self) -> None:
        """What this GPU could not hold it cannot hold today either: no minutes of loading to find that out again."""
        note = atomic.read_json(self._batch_note) or {}
        if any(note.get(key) != value for key, value in self._circumstances().items()):
            return
        self._batch_cap = min(self._batch_cap, int(note["largest"]))
        if self._batch_cap < 1:
            message = f"the GPU's memory was not enough for {self._precision} with batch size 1"
            raise known("OutOfMemory", message, "Use `precision: bnb_4bit`, or a GPU with more memory.")

    def _report_restart(self, found: Diagnosis, how: str) -> None:
        note = f"restarted after {found.failure_class}: {how}"
        self._context.events.progress("restart", len(self._search.trials), self._trials, "trials", note)

    # What comes out

    def _install(self, chosen: Trial) -> None:
        """Checks the exported adapter and puts it in place. Only files count: heretic's exit code is 0 after a failed save."""
        source, target = self._folder / _EXPORT, self._context.paths.adapter
        _require_sound_adapter(source, self._context.paths.base)
        config = checkpoint.read_object(source / "adapter_config.json")
        # PEFT writes a set in any order and a path of this pod: neither says anything about the adapter.
        config["target_modules"] = sorted(config.get("target_modules") or [])
        config["base_model_name_or_path"] = None
        atomic.write_json(source / "adapter_config.json", config)
        for file in source.iterdir():
            if file.name not in ("adapter_config.json", "adapter_model.safetensors"):
                file.unlink()
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)
        atomic.sync_folder(self._folder)
        record = {"index": chosen.index, "digest": lora_merge.adapter_digest(target)}
        atomic.write_json(self._folder / "chosen.json", record)
        self._context.events.checkpoint(
            "adapter", "work/ablate/adapter/adapter_model.safetensors", sha256_of(target / "adapter_model.safetensors")
        )

    def _finished_adapter(self) -> Trial | None:
        """The chosen trial when the search is complete and its adapter is in place, untouched."""
        record = atomic.read_json(self._folder / "chosen.json") or {}
        best, adapter = self._choice(), self._context.paths.adapter
        complete = len(self._search.trials) - self._search.duplicates >= self._trials
        if not complete or best is None or record.get("index") != best.index or not adapter.exists():
            return None
        return best if lora_merge.adapter_digest(adapter) == record.get("digest") else None

    def _none_allowed(self) -> JobFailure:
        trials = self._search.trials
        least = min(trial.kl for trial in trials)
        return JobFailure(
            "NoTrialWithinKl",
            f"none of {len(trials)} trials stayed within KL {self._max_kl:g}; the least was {least:.4g}",
            "Run more trials, allow a larger KL, or use other prompts.",
        )

    def _require_effect(self, chosen: Trial) -> None:
        if chosen.refusals < chosen.base_refusals or not self._context.param("requireFewerRefusals", bool, False):
            return
        raise JobFailure(
            "NoLessRefusals",
            f"the best of {len(self._search.trials)} trials within KL {self._max_kl:g} declines {chosen.refusals} of "
            f"{chosen.prompts} evaluation prompts, the base {chosen.base_refusals}",
            "Run more trials, allow a larger KL, use other prompts, or accept it with `ablate.requireFewerRefusals: false`.",
            repeat="person",
        )

    def _result(self, chosen: Trial) -> dict[str, Any]:
        self._require_effect(chosen)
        adapter = self._context.paths.adapter
        files = [digest_file(adapter, name) for name in ("adapter_config.json", "adapter_model.safetensors")]
        journal = heretic_journal.find(self._checkpoints)
        search = self._search
        return {
            "trialsCompleted": len(search.trials),
            "chosen": {
                "index": chosen.index,
                "kl": chosen.kl,
                "measure": "refusals",
                "refusals": chosen.refusals,
                "baseRefusals": chosen.base_refusals,
                "prompts": chosen.prompts,
                # The three figures every toolchain gives. Here: share of refused evaluation prompts after and before.
                "projection": chosen.refusals / max(1, chosen.prompts),
                "baseProjection": chosen.base_refusals / max(1, chosen.prompts),
                "strength": max((part.get("max_weight", 0.0) for part in chosen.parameters.values()), default=0.0),
                "directionIndex": chosen.direction_index,
                "parameters": chosen.parameters,
            },
            "lessRefusals": chosen.refusals < chosen.base_refusals,
            "trialsUnfinished": search.unfinished,
            "trialsDuplicate": search.duplicates,
            "batchSize": (search.settings or {}).get("batch_size"),
            "precision": self._precision,
            "tool": TOOL,
            "adapter": {"files": [file.to_json() for file in files], "digest": digest_of(files)},
            "journalSha256": sha256_of(journal) if journal else None,
            "promptDigests": self._prompts,
            "madeOn": self._device,
        }


def _may_resume(found: Diagnosis) -> bool:
    """True for ends that the same pod can outlive; the others need another pod, or a person."""
    return found.repeat == "same" or found.failure_class in ("JobCrashed", "Killed", "PromptMissed", "JournalDamaged")


def _base_identity(base: Path) -> dict[str, Any]:
    # The pinned commit where prepare noted it; sizes catch a folder made by hand. Hashing 140 GB would cost minutes of GPU.
    note = atomic.read_json(base.with_name(f"{base.name}.json")) or {}
    sizes = {path.name: path.stat().st_size for path in checkpoint.shard_paths(base)}
    return {"commit": note.get("commit"), "config": sha256_of(base / "config.json"), "shards": sizes}


def _require_sound_adapter(folder: Path, base: Path) -> None:
    """Raises `AdapterMismatch` or `DamagedWeights` unless every pair has its tensor in the base and at least one delta is
    not zero and all numbers are finite."""
    if not (folder / "adapter_model.safetensors").exists():
        raise JobFailure("AdapterMissing", "heretic said that it saved the adapter, and there is none", "Start the stage again.")
    deltas = lora_merge.read_adapter(folder)
    headers = checkpoint.check(base)
    lora_merge.named_as_on_disk(deltas, {name for header in headers.values() for name in header.tensors})
    if not deltas or not any(column.any() and row.any() for column, row in deltas.values()):
        raise JobFailure("AdapterMismatch", "the exported adapter changes nothing", "Ablate again.")
    if not all(np.isfinite(column).all() and np.isfinite(row).all() for column, row in deltas.values()):
        raise JobFailure("NonFiniteWeights", "the exported adapter holds numbers that are not finite", "Ablate again.")
