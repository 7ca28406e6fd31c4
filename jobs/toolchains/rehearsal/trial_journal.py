"""The journal of a search: one line per finished trial, durable before the next one starts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anneal_job.atomic import cut_torn_line, sync_folder


@dataclass(frozen=True)
class Trial:
    """One trial: its index from 0, what was tried, and what was measured."""

    index: int
    strength: float
    first_layer: int
    kl: float
    projection: float


class TrialJournal:
    """journal.jsonl: a first line that says what the trials belong to, then one line per trial in order.

    A torn last line is cut. A journal with another first line is set aside, since its trials measured something else.
    """

    def __init__(self, path: Path, belongs_to: dict[str, Any]) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_torn_line(path)
        self.trials: list[Trial] = []
        if not self._read(belongs_to):
            if path.exists():
                path.replace(_free_name(path))
            self._append({"type": "search", **belongs_to})

    def append(self, trial: Trial) -> None:
        """Adds a finished trial; on return it survives a crash of the machine."""
        if trial.index != len(self.trials):
            raise ValueError(f"trial {trial.index} does not follow {len(self.trials)} trials")
        self._append({"type": "trial", **asdict(trial)})
        self.trials.append(trial)

    def _read(self, belongs_to: dict[str, Any]) -> bool:
        try:
            lines = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        except (FileNotFoundError, ValueError):
            return False
        if not lines or lines[0] != {"type": "search", **belongs_to}:
            return False
        for line in lines[1:]:
            line.pop("type", None)
            trial = Trial(**line)
            if trial.index != len(self.trials):
                self.trials.clear()
                return False
            self.trials.append(trial)
        return True

    def _append(self, value: dict[str, Any]) -> None:
        with self._path.open("ab") as stream:
            stream.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(self._path.parent)


def _free_name(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}.{number}.old")).exists():
        number += 1
    return candidate
