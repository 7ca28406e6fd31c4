"""What a beat says about the machine: cheap to read, and None where it cannot be read."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from anneal_job.protocol import Json

_MEBIBYTE = 1024 * 1024
_PROBE_LIMIT_SECONDS = 10.0
_QUERY = ["nvidia-smi", "--query-gpu=name,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]


class GpuProbe:
    """GPU use as of the last answer of `nvidia-smi`, which takes up to seconds and must not delay a beat."""

    def __init__(self) -> None:
        self._installed = shutil.which("nvidia-smi") is not None
        self._running: subprocess.Popen[str] | None = None
        self._started_at = 0.0
        self._last: Json | None = None

    def read(self) -> Json | None:
        """What is known now; asks anew unless a question is under way."""
        if not self._installed:
            return None
        self._collect()
        if self._running is None:
            with contextlib.suppress(OSError):
                self._running = subprocess.Popen(_QUERY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                self._started_at = time.monotonic()
        return self._last

    def close(self) -> None:
        """Ends a question that is under way."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def _collect(self) -> None:
        process = self._running
        if process is None:
            return
        if process.poll() is None:
            if time.monotonic() - self._started_at > _PROBE_LIMIT_SECONDS:
                self.close()
                self._last = None
            return
        text, _ = process.communicate()
        self._running = None
        self._last = parse_gpus(text) if process.returncode == 0 else None


def parse_gpus(text: str) -> Json | None:
    """Name and number of GPUs, mean use in percent and memory in bytes of all of them; None for anything unreadable."""
    try:
        rows = [[part.strip() for part in line.split(",")] for line in text.splitlines() if line.strip()]
        return {
            "name": rows[0][0],
            "count": len(rows),
            "utilizationPercent": round(sum(float(row[1]) for row in rows) / len(rows), 1),
            "memoryUsedBytes": sum(int(row[2]) for row in rows) * _MEBIBYTE,
            "memoryTotalBytes": sum(int(row[3]) for row in rows) * _MEBIBYTE,
        }
    except (ValueError, IndexError):
        return None


def resident_bytes(session: int) -> int | None:
    """Resident memory of every process of a session: a program and what it has started. Shared pages count twice."""
    page = os.sysconf("SC_PAGE_SIZE")
    found: int | None = None
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # Fields after the command name's last bracket: state, parent, group, session (proc(5)).
            stat = (folder / "stat").read_text()
            if int(stat[stat.rindex(")") + 2 :].split()[3]) == session:
                found = (found or 0) + int((folder / "statm").read_text().split()[1]) * page
        except (OSError, ValueError, IndexError):
            continue
    return found


def memory_limit_bytes() -> int:
    """The control group's memory limit, or the machine's memory where there is none. `free` shows the host's, not ours."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return min(int(Path(path).read_text()), total)
    return total


def oom_kills() -> int:
    """How often the kernel's out-of-memory killer struck in this control group, in either cgroup version."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def disk_free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
