"""Lists or makes the environments of the GPU toolchain and the test's own, with the product's program for it.

python make_environments.py list|make, in jobs/, with ANNEAL_ENVS set. Prints one JSON object per environment when all are
there: `name`, `folder`, `bytes`, `ready`. What is made is told on stderr.

`engine` holds only what `transformers serve` needs beside the packages of `quant`, in the versions of its lock: the server
then runs the very libraries that verified the release. `serve`, the pinned vLLM, is left out where its Python is missing.
"""

import json
import subprocess
import sys
from pathlib import Path

# This file's own folder is first on the path; the job code is in the folder that it is started in.
sys.path.insert(0, str(Path.cwd()))

from anneal_job.context import JobContext
from anneal_job.events import EventLog
from anneal_job.failures import JobFailure
from anneal_job.paths import WorkPaths
from anneal_job.secrets_filter import SecretsFilter
from toolchains.gpu import environments


def runs(program: str) -> bool:
    try:
        return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


ENGINE = environments.Environment("engine", Path(__file__).parent / "engine.txt", 40_000_000)
ALL = [environments.IO, environments.ABLATE, environments.QUANT, ENGINE]
if runs(f"python{environments.SERVE.needs_python}"):
    ALL.append(environments.SERVE)


def make() -> None:
    beside = environments.pinned(environments.QUANT.lock)
    for package, version in environments.pinned(ENGINE.lock).items():
        if beside.get(package, version) != version:
            raise SystemExit(f"engine.txt has {package} {version}, the lock of quant {beside[package]}: compile it again")
    root = environments.root()
    root.mkdir(parents=True, exist_ok=True)
    events = EventLog(root / "events.jsonl", SecretsFilter([]))
    context = JobContext("environments", "prepare", "gpu", {}, WorkPaths(root), events)
    for environment in ALL:
        if not environment.ready():
            print(f"prepare: {environment.name}: {environment.disk_bytes / 1e9:.2f} GB", file=sys.stderr, flush=True)
        environments.ensure(context, environment)
    environments.forget_downloads()


if __name__ == "__main__":
    if sys.argv[1] == "make":
        try:
            make()
        except JobFailure as failure:
            raise SystemExit(f"{failure}") from None
    for made in ALL:
        facts = {"name": made.name, "folder": str(made.folder()), "bytes": made.disk_bytes, "ready": made.ready()}
        print(json.dumps(facts))
