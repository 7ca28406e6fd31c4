"""events.jsonl: what a job tells while it runs. Used by the supervisor and by stage programs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anneal_job.atomic import cut_torn_line
from anneal_job.clock import now_iso
from anneal_job.protocol import encode_line
from anneal_job.rate import Allowance
from anneal_job.secrets_filter import SecretsFilter

_PROGRESS_INTERVAL_SECONDS = 0.2
# A search of 2,000 trials at once passes; a loop that reports every step leaves gaps.
_EVENTS_AT_ONCE = 2000
_EVENTS_PER_SECOND = 50
_ECHO_PROGRESS_SECONDS = 10.0


class EventLog:
    """Appends whole lines to one events file.

    Promise: a reader that takes complete lines only never sees half an event, and offsets handed out stay valid.
    Progress is limited to five lines per second and phase; the last one of a phase is always written. All events
    together are limited, too; one that passes says in `leftOut` how many before it did not.
    """

    def __init__(self, path: Path, secrets: SecretsFilter, echo: Callable[[bytes], None] | None = None) -> None:
        """`echo` is given each line for the log; of a phase's progress a line every 10 s and the last one."""
        cut_torn_line(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._secrets = secrets
        self._last_progress: dict[str, float] = {}
        self._held: dict[str, dict[str, Any]] = {}
        self._echo = echo
        self._echoed: dict[str, float] = {}
        self._allowance = Allowance(_EVENTS_AT_ONCE, _EVENTS_PER_SECOND)
        self._left_out = 0

    def emit(self, kind: str, **fields: Any) -> None:
        """Writes one event of type `kind`; held progress goes first, so order is kept."""
        self.flush()
        self._write({"type": kind, "at": now_iso(), **fields})

    def progress(self, phase: str, done: float, total: float, unit: str, note: str | None = None) -> None:
        """Reports `done` of `total` in `unit` for `phase`."""
        event: dict[str, Any] = {"type": "progress", "at": now_iso(), "phase": phase, "done": done, "total": total, "unit": unit}
        if note is not None:
            event["note"] = note
        for other in [name for name in self._held if name != phase]:
            self._write(self._held.pop(other))
        now = time.monotonic()
        final = total > 0 and done >= total
        if final or now - self._last_progress.get(phase, -1e9) >= _PROGRESS_INTERVAL_SECONDS:
            self._held.pop(phase, None)
            self._last_progress[phase] = now
            self._write(event)
        else:
            self._held[phase] = event

    def trial(self, *, index: int, total: int, kl: float, projection: float, strength: float, best: bool) -> None:
        """Reports one finished trial of a search."""
        self.emit("trial", index=index, total=total, kl=kl, projection=projection, strength=strength, best=best)

    def checkpoint(self, what: str, path: str, sha256: str) -> None:
        """Reports a file that is worth saving; `path` is relative to the anneal root."""
        self.emit("checkpoint", what=what, path=path, sha256=sha256)

    def flush(self) -> None:
        """Writes progress that was held back."""
        for phase in list(self._held):
            self._write(self._held.pop(phase))

    def close(self) -> None:
        self.flush()
        os.close(self._descriptor)

    def _write(self, event: dict[str, Any]) -> None:
        if not self._allowance.take(1):
            self._left_out += 1
            return
        if self._left_out > 0:
            event = {**event, "leftOut": self._left_out}
            self._left_out = 0
        line = encode_line(self._secrets.value(event))
        if self._echo is not None and self._is_for_log(event):
            self._echo(line)
        # One write call of a small line on O_APPEND: two writers (supervisor and program) cannot mix their lines.
        os.write(self._descriptor, line)

    def _is_for_log(self, event: dict[str, Any]) -> bool:
        if event["type"] != "progress":
            return True
        phase, now = str(event["phase"]), time.monotonic()
        if event["done"] < event["total"] and now - self._echoed.get(phase, -1e9) < _ECHO_PROGRESS_SECONDS:
            return False
        self._echoed[phase] = now
        return True
