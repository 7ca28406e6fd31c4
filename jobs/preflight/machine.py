"""What the pod offers, read before work is paid for."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal_job import atomic
from anneal_job.telemetry import memory_limit_bytes as memory_limit_bytes
from anneal_job.telemetry import oom_kills as oom_kills

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver reports it; memory in bytes."""

    name: str
    memory_bytes: int
    free_bytes: int
    driver: str


def preflight(workspace: Path) -> dict[str, Any]:
    """GPU name, count, memory, driver and CUDA version, Python, free disk and memory limit in bytes, CPUs, and whether the
    workspace can be written."""
    gpus = gpus_here()
    return {
        "gpuName": gpus[0].name if gpus else None,
        "gpuCount": len(gpus),
        "gpuMemoryBytes": sum(gpu.memory_bytes for gpu in gpus),
        "gpuFreeBytes": sum(gpu.free_bytes for gpu in gpus),
        "driver": gpus[0].driver if gpus else None,
        "driverCuda": _driver_cuda() if gpus else None,
        "python": platform.python_version(),
        "diskFreeBytes": shutil.disk_usage(workspace).free,
        "memoryLimitBytes": memory_limit_bytes(),
        "cpuCount": len(os.sched_getaffinity(0)),
        "workspaceWritable": _writable(workspace),
    }


def gpus_here() -> list[Gpu]:
    """The GPUs that `nvidia-smi` lists; none where it is missing or fails."""
    fields = "name,memory.total,memory.free,driver_version"
    text = _nvidia_smi(f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[1].isdigit() and parts[2].isdigit():
            found.append(Gpu(parts[0], int(parts[1]) * _MEBIBYTE, int(parts[2]) * _MEBIBYTE, parts[3]))
    return found


def _driver_cuda() -> str | None:
    """The newest CUDA version that the driver serves, such as `12.8`; only the table's head tells it."""
    match = re.search(r"CUDA Version:\s*(\d+\.\d+)", _nvidia_smi())
    return match[1] if match else None


def _nvidia_smi(*arguments: str) -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        return subprocess.run(["nvidia-smi", *arguments], capture_output=True, check=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def memory_available_bytes() -> int:
    """Host memory that can still be used: the control group's rest, and no more than the kernel calls available."""
    available = memory_limit_bytes()
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = min(available, int(line.split()[1]) * 1024)
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        # Page cache counts as used there, though it is given up on demand.
        cached = _cgroup_counter("/sys/fs/cgroup/memory.stat", "file")
        available = min(available, memory_limit_bytes() - max(0, used - cached))
    except (OSError, ValueError):
        pass
    return available


def _cgroup_counter(file: str, wanted: str) -> int:
    for line in Path(file).read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == wanted:
            return int(value)
    return 0


def _writable(workspace: Path) -> bool:
    probe = workspace / ".write-probe"
    try:
        atomic.write_bytes(probe, b"probe")
        probe.unlink()
    except OSError:
        return False
    return True
