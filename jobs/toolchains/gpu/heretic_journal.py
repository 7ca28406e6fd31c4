"""The journal of heretic 1.4.0: Optuna's operation log, one JSON object per line, read and mended without Optuna.

Operations: 0 create study, 2 study attribute, 4 create trial, 5 parameter, 6 trial state (1 complete, 2 pruned, 3 failed),
8 trial attribute. Trials are numbered from 0 in order of creation; heretic's own `index` counts from 1.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anneal_job import atomic

_STUDY_ATTRIBUTE, _CREATE_TRIAL, _PARAMETER, _TRIAL_STATE, _TRIAL_ATTRIBUTE = 2, 4, 5, 6, 8
_COMPLETE = 1
_FIGURES = ("index", "kl_divergence", "refusals", "base_refusals", "n_bad_prompts")


@dataclass(frozen=True)
class Trial:
    """One finished trial. `refusals` of `prompts` evaluation prompts were refused, `base_refusals` by the base model;
    `kl` is the first-token KL from the base on harmless prompts, in nats."""

    index: int
    kl: float
    refusals: int
    base_refusals: int
    prompts: int
    direction_index: float | None
    parameters: dict[str, dict[str, float]]
    drawn: tuple[tuple[str, float], ...]
    """What the sampler drew: equal for two trials that tried the same."""


@dataclass
class Search:
    """What a journal says."""

    trials: list[Trial] = field(default_factory=list)
    started: int = 0
    settings: dict[str, Any] | None = None
    finished: bool | None = None

    @property
    def unfinished(self) -> int:
        """Trials that were killed, pruned or failed; heretic counts them as done."""
        return self.started - len(self.trials)

    @property
    def duplicates(self) -> int:
        return len(self.trials) - len({trial.drawn for trial in self.trials})


def choose(trials: Iterable[Trial], max_kl: float) -> Trial | None:
    """The policy: fewest refusals among trials with KL within the limit, then least KL, then the earliest.

    This trial is always one of those that heretic offers: every trial with fewer refusals has a KL above the limit.
    """
    allowed = [trial for trial in trials if trial.kl <= max_kl]
    return min(allowed, key=lambda trial: (trial.refusals, trial.kl, trial.index), default=None)


def find(folder: Path) -> Path | None:
    """The journal in heretic's checkpoint folder; its name is made of the model's name."""
    return next(iter(sorted(folder.glob("*.jsonl"))), None)


def read(path: Path) -> Search:
    """Reads a journal that may be written to at this moment: lines that do not parse are left out."""
    search = Search()
    facts: dict[int, dict[str, Any]] = {}
    drawn: dict[int, dict[str, float]] = {}
    for line in path.read_bytes().splitlines():
        try:
            operation = json.loads(line)
        except ValueError:
            continue
        match operation.get("op_code"):
            case 2:
                _take_study_attribute(search, operation["user_attr"])
            case 4:
                facts[search.started], drawn[search.started] = {}, {}
                search.started += 1
            case 5:
                drawn[operation["trial_id"]][operation["param_name"]] = operation["param_value_internal"]
            case 8:
                facts[operation["trial_id"]] |= operation["user_attr"]
            case 6:
                number = operation["trial_id"]
                if operation["state"] == _COMPLETE and all(name in facts[number] for name in _FIGURES):
                    search.trials.append(_trial(facts[number], drawn[number]))
    return search


def mend(path: Path) -> int:
    """Cuts the journal after its last sound line and returns how many bytes went; a copy stays beside it as `.bak`.

    Optuna reads over a torn last line but appends to it, and from then on every start fails. A journal is a sequence of
    operations, so its beginning is always a journal too. To be called only while no heretic runs.
    """
    data = path.read_bytes()
    sound = 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n") or not _parses(line):
            break
        sound += len(line)
    atomic.write_bytes(path.with_name(path.name + ".bak"), data)
    if sound < len(data):
        atomic.write_bytes(path, data[:sound])
    return len(data) - sound


def usable(path: Path) -> bool:
    """False for a journal whose study has no settings yet: heretic would fail on it at every start."""
    search = read(path)
    return search.settings is not None and search.finished is not None


def change_settings(path: Path, changes: dict[str, Any], *, finished: bool) -> None:
    """Appends operations that replace some stored settings, as Optuna itself would.

    On "continue" the stored settings win over the configuration file, so this is the only way to change them.
    """
    head: dict[str, Any] | None = None
    settings: dict[str, Any] = {}
    for line in path.read_bytes().splitlines():
        operation = json.loads(line)
        if operation["op_code"] == _STUDY_ATTRIBUTE and "settings" in operation["user_attr"]:
            head, settings = operation, json.loads(operation["user_attr"]["settings"])
    if head is None:
        raise ValueError("the journal holds no settings")
    operations = [
        {**head, "user_attr": {"settings": json.dumps({**settings, **changes}, separators=(",", ":"))}},
        {**head, "user_attr": {"finished": finished}},
    ]
    lines = b"".join(json.dumps(operation, separators=(",", ":")).encode() + b"\n" for operation in operations)
    atomic.write_bytes(path, path.read_bytes() + lines)


def clear_locks(folder: Path) -> None:
    """Removes locks that a killed heretic left; each costs the next start 30 s. To be called only while none runs."""
    for lock in folder.glob("*.lock*"):
        lock.unlink(missing_ok=True)


def set_aside(folder: Path) -> None:
    """Keeps one earlier search as `<folder>.old`: its trials measured something else."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)


def _take_study_attribute(search: Search, attribute: dict[str, Any]) -> None:
    if "settings" in attribute:
        search.settings = json.loads(attribute["settings"])
    if "finished" in attribute:
        search.finished = bool(attribute["finished"])


def _trial(facts: dict[str, Any], drawn: dict[str, float]) -> Trial:
    return Trial(
        index=int(facts["index"]),
        kl=float(facts["kl_divergence"]),
        refusals=int(facts["refusals"]),
        base_refusals=int(facts["base_refusals"]),
        prompts=int(facts["n_bad_prompts"]),
        direction_index=facts.get("direction_index"),
        parameters=facts.get("parameters") or {},
        drawn=tuple(sorted(drawn.items())),
    )


def _parses(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
