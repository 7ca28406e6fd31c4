"""What the pod offers, read before work is paid for."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from anneal_job import atomic


def preflight(workspace: Path) -> dict[str, Any]:
    """GPU name and count, Python, free disk and memory limit in bytes, CPUs, and whether the workspace can be written."""
    gpus = _gpu_names()
    return {
        "gpuName": gpus[0] if gpus else None,
        "gpuCount": len(gpus),
        "python": platform.python_version(),
        "diskFreeBytes": shutil.disk_usage(workspace).free,
        "memoryLimitBytes": memory_limit_bytes(),
        "cpuCount": len(os.sched_getaffinity(0)),
        "workspaceWritable": _writable(workspace),
    }


def _gpu_names() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        text = subprocess.run(query, capture_output=True, check=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def memory_limit_bytes() -> int:
    """The control group's memory limit, or the machine's memory where there is none. `free` shows the host's, not ours."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(path).read_text())
        except (OSError, ValueError):
            continue
        return min(limit, total)
    return total


def oom_kills() -> int:
    """How often the kernel's out-of-memory killer struck in this control group (memory.events of cgroup v2)."""
    try:
        for line in Path("/sys/fs/cgroup/memory.events").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    except (OSError, ValueError):
        pass
    return 0


def _writable(workspace: Path) -> bool:
    probe = workspace / ".write-probe"
    try:
        atomic.write_bytes(probe, b"probe")
        probe.unlink()
    except OSError:
        return False
    return True
