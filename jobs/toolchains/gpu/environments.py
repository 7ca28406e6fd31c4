"""The Python environments of the GPU toolchain: made from hashed locks, on the container's disk, used again while they fit.

Two tools that need different versions of torch cannot share an environment. An environment lies in
`<root>/<name>-<lock hash>`; its marker file is written last, so one without a marker is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from hub.activity_watch import watching
from toolchains.gpu.subprocesses import Ended, run_to_end

ROOT_VARIABLE = "ANNEAL_ENVS"
DEFAULT_ROOT = "/opt/anneal/envs"
MARKER = ".anneal-complete.json"
_REQUIREMENTS = Path(__file__).parent / "requirements"
_TRIES = 3
_FIRST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Environment:
    """One environment: its name, its lock, and what it takes on disk in bytes (measured, for progress and the room check).

    `needs_python`: the version it is made with; without one it is the interpreter that runs the jobs.
    """

    name: str
    lock: Path
    disk_bytes: int
    needs_python: str | None = None

    @property
    def key(self) -> str:
        """First 12 hex of the SHA-256 over lock and Python version: another one of either means another environment."""
        version = self.needs_python or f"{sys.version_info.major}.{sys.version_info.minor}"
        return hashlib.sha256(f"{version}\0".encode() + self.lock.read_bytes()).hexdigest()[:12]

    def folder(self) -> Path:
        return root() / f"{self.name}-{self.key}"

    def python(self) -> Path:
        return self.folder() / "bin" / "python"

    def ready(self) -> bool:
        return (self.folder() / MARKER).exists() and self.python().exists()


def _shipped(name: str, disk_bytes: int, needs_python: str | None = None) -> Environment:
    return Environment(name, _REQUIREMENTS / f"{name}.txt", disk_bytes, needs_python)


# Measured on Linux x86-64 with Python 3.11: 7.4 and 7.2 GB, of which 3 GB of CUDA libraries are shared by hard links.
ABLATE = _shipped("ablate", 7_400_000_000)
QUANT = _shipped("quant", 7_200_000_000)
IO = _shipped("io", 120_000_000)
# 8.0 GB, measured in the same way with Python 3.12: vLLM 0.27.1 asks for 3.10, but FlashInfer, which it pins and starts
# with, subscripts `array.array` (flashinfer/comm/fd_exchange.py), and that is a TypeError before 3.12.
SERVE = _shipped("serve", 8_000_000_000, "3.12")
_UV = _shipped("uv", 60_000_000)


def root() -> Path:
    """Where environments lie: `ANNEAL_ENVS`, else the container's own disk, which a stopped pod loses."""
    return Path(os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT))


def ensure(context: JobContext, environment: Environment) -> Path:
    """Makes the environment unless it is there and returns its Python. Idempotency key: the lock and the Python version.

    Raises `DiskFull`, `PackageIndexUnavailable` (after three tries; retryable) or `EnvironmentFailed`. A stop ends it; what
    was downloaded is kept for the next try.
    """
    if environment.ready():
        return environment.python()
    root().mkdir(parents=True, exist_ok=True)
    with _alone(environment, context):
        if not environment.ready():
            _make(context, environment)
    return environment.python()


def enter_io(context: JobContext) -> None:
    """Makes the locked io packages importable in this process: the image's own Python has none of them.

    An interpreter that has exactly the locked versions already (the local world's) is used as it is.
    """
    if not _missing_from_here(IO):
        return
    python = ensure(context, IO)
    folder = next(python.parent.parent.glob("lib/python3.*/site-packages"))
    # In front: the image may bring another numpy along.
    sys.path.insert(0, str(folder))


def forget_downloads() -> None:
    """Removes the installer's cache once all environments stand: their files are hard links and stay."""
    shutil.rmtree(_cache(), ignore_errors=True)


def pinned(lock: Path) -> dict[str, str]:
    """Package to version of one lock, for the lines that hold on this interpreter without a condition."""
    found: dict[str, str] = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)\s*\\?$", line):
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


def _missing_from_here(environment: Environment) -> list[str]:
    missing = []
    for name, version in pinned(environment.lock).items():
        try:
            if metadata.version(name) != version:
                missing.append(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    return missing


@contextmanager
def _alone(environment: Environment, context: JobContext) -> Iterator[None]:
    """Two jobs that need the same environment take turns making it."""
    with (root() / f".{environment.name}.lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                context.wait(0.5)
                context.check_stop()
        yield


def _cache() -> Path:
    # Beside the environments: files are linked into them only within one file system.
    return root() / ".cache"


def _make(context: JobContext, environment: Environment) -> None:
    free = shutil.disk_usage(root()).free
    if free < environment.disk_bytes:
        raise JobFailure(
            "DiskFull",
            f"environment {environment.name} needs {environment.disk_bytes} bytes in {root()}, {free} are free",
            "Use a larger container disk.",
        )
    started = time.monotonic()
    installer = _installer(context)
    folder = environment.folder()
    _remove_older(environment)
    for attempt in range(1, _TRIES + 1):
        shutil.rmtree(folder, ignore_errors=True)
        with _progress(context, environment):
            ended = _install(context, installer, environment)
        if ended.code == 0:
            break
        failure = installation_failure(environment.name, ended.tail)
        shutil.rmtree(folder, ignore_errors=True)
        if failure.failure_class != "PackageIndexUnavailable" or attempt == _TRIES:
            raise failure
        context.wait(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        context.check_stop()
    seconds = round(time.monotonic() - started, 1)
    atomic.write_json(folder / MARKER, {"lock": environment.key, "seconds": seconds, "packages": pinned(environment.lock)})


def _install(context: JobContext, installer: str, environment: Environment) -> Ended:
    folder = environment.folder()
    settings = {"UV_CACHE_DIR": str(_cache()), "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1"}
    interpreter = environment.needs_python or sys.executable
    made = run_to_end(context, [installer, "venv", "--quiet", "--python", interpreter, str(folder)], settings)
    if made.code != 0:
        return made
    lock = ["--require-hashes", "--no-deps", "-r", str(environment.lock)]
    return run_to_end(context, [installer, "pip", "install", "--python", str(environment.python()), *lock], settings)


def _installer(context: JobContext) -> str:
    """`uv` of the image, or one that pip puts into a folder of its own."""
    if found := shutil.which("uv"):
        return found
    folder = _UV.folder()
    program = folder / "bin" / "uv"
    if not ((folder / MARKER).exists() and program.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        # A target folder needs no `venv` module, which images leave out, and no leave of an externally managed Python.
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir", "--target", str(folder)]
        ended = run_to_end(context, [*pip, "--require-hashes", "-r", str(_UV.lock)], {})
        if ended.code != 0:
            raise installation_failure("uv", ended.tail)
        atomic.write_json(folder / MARKER, {"lock": _UV.key})
    return str(program)


def installation_failure(name: str, tail: str) -> JobFailure:
    """What the installer's last lines mean. `PackageIndexUnavailable` may be tried again as it is."""
    if any(word in tail for word in ("No space left on device", "os error 28", "Disk quota exceeded")):
        return JobFailure("DiskFull", f"environment {name}: {_last(tail)}", "Use a larger container disk.")
    if any(word.lower() in tail.lower() for word in _TRANSPORT):
        return JobFailure(
            "PackageIndexUnavailable",
            f"environment {name}: {_last(tail)}",
            "The package index could not be reached. Start the stage again; what was downloaded is kept.",
            repeat="same",
        )
    return JobFailure(
        "EnvironmentFailed",
        f"environment {name}: {_last(tail)}",
        "The locked packages do not install on this image. Use one with Python 3.12 on Linux x86-64, as the default image has.",
    )


# As uv and pip word them.
_TRANSPORT = (
    "error sending request",
    "Failed to fetch",
    "operation timed out",
    "Connection reset",
    "Connection refused",
    "dns error",
    "Temporary failure in name resolution",
    "Could not connect",
    "IncompleteRead",
    "Read timed out",
    "ConnectionError",
    "Network is unreachable",
    "503 Service Unavailable",
    "502 Bad Gateway",
    "429 Too Many Requests",
)


def _last(tail: str) -> str:
    return " ".join(tail.split())[-600:]


def _remove_older(environment: Environment) -> None:
    """Environments of the same name and another lock only take room."""
    for folder in root().glob(f"{environment.name}-*"):
        if folder != environment.folder():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _progress(context: JobContext, environment: Environment) -> Iterator[None]:
    before = shutil.disk_usage(root()).used

    def grown() -> int:
        return max(0, shutil.disk_usage(root()).used - before)

    with watching(context.events, f"install {environment.name}", environment.disk_bytes, grown, "estimated from disk use"):
        yield
