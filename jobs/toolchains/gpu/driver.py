"""Whether the host's driver can run what needs CUDA."""

from __future__ import annotations

from typing import Any

from toolchains.gpu.failure_table import known


def require_cuda(found: dict[str, Any], major: int, what: str, advice: str) -> None:
    """`found`: preflight of the machine; `major`: the CUDA version that `what` was built for. Raises `NoGpu`, `DriverTooOld`."""
    if not found["gpuCount"]:
        raise known("NoGpu", "nvidia-smi lists no GPU", "The host's driver or GPU is at fault: use another pod.")
    version = found["driverCuda"]
    if version is not None and int(version.split(".")[0]) < major:
        raise known("DriverTooOld", f"driver {found['driver']} serves CUDA {version}, and {what} needs {major}", advice)
