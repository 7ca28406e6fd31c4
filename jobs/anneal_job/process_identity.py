"""Which process is meant: a pid alone is not enough, the kernel gives it out again."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ProcessIdentity:
    """A pid with its start time in clock ticks since boot and the boot it belongs to."""

    pid: int
    start_ticks: int
    boot_id: str

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "startTicks": self.start_ticks, "bootId": self.boot_id}

    def alive(self) -> bool:
        """True while exactly this process runs; a zombie has ended."""
        return identify(self.pid) == self

    def send(self, number: signal.Signals, *, group: bool = False) -> bool:
        """Signals the process (or its group); False when it no longer runs."""
        if not self.alive():
            return False
        try:
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a running pid, or None when there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name may hold spaces and brackets, so fields are counted after its last closing bracket (proc(5)).
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in ("Z", "X"):
        return None
    return ProcessIdentity(pid, int(fields[19]), _boot_id())


def current() -> ProcessIdentity:
    identity = identify(os.getpid())
    if identity is None:
        raise RuntimeError("/proc is not available")
    return identity


def from_json(value: object) -> ProcessIdentity | None:
    """Reads `to_json`; None for anything else."""
    if not isinstance(value, dict):
        return None
    pid, ticks, boot = value.get("pid"), value.get("startTicks"), value.get("bootId")
    if isinstance(pid, int) and isinstance(ticks, int) and isinstance(boot, str):
        return ProcessIdentity(pid, ticks, boot)
    return None
