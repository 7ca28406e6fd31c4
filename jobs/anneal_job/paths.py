"""Where things lie on the pod. The only place that knows the layout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def root() -> Path:
    """`<workspace>/anneal`; the workspace comes from ANNEAL_WORKSPACE, `/workspace` when unset."""
    return Path(os.environ.get("ANNEAL_WORKSPACE", "/workspace")) / "anneal"


@dataclass(frozen=True)
class WorkPaths:
    """The data that stages hand to each other; independent of job ids, so a new job continues what an old one left."""

    work: Path

    @property
    def base(self) -> Path:
        return self.work / "base"

    @property
    def ablate(self) -> Path:
        return self.work / "ablate"

    @property
    def adapter(self) -> Path:
        return self.ablate / "adapter"

    @property
    def journal(self) -> Path:
        return self.ablate / "journal.jsonl"

    @property
    def merged(self) -> Path:
        return self.work / "merged"

    @property
    def quantized(self) -> Path:
        return self.work / "quantized"

    @property
    def release(self) -> Path:
        return self.work / "release"

    @property
    def verify(self) -> Path:
        return self.work / "verify"

    @property
    def locks(self) -> Path:
        return self.work / ".locks"


@dataclass(frozen=True)
class JobPaths:
    """The files of one job."""

    folder: Path

    @property
    def job(self) -> Path:
        return self.folder / "job.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def exit(self) -> Path:
        return self.folder / "exit.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def start_lock(self) -> Path:
        return self.folder / "start.lock"

    @property
    def supervisor(self) -> Path:
        return self.folder / "supervisor.json"

    @property
    def stop(self) -> Path:
        return self.folder / "stop.json"

    @property
    def follower(self) -> Path:
        return self.folder / "follower"

    @property
    def follower_lock(self) -> Path:
        return self.folder / "follower.lock"


def job_paths(job_id: str) -> JobPaths:
    """The files of `job_id`; the id must have been checked."""
    return JobPaths(root() / "jobs" / job_id)


def work_paths() -> WorkPaths:
    return WorkPaths(root() / "work")


def boot_value() -> Path:
    return root() / "boot-value"


def lease() -> Path:
    """Its modification time is the last contact; the dead-man switch watches it."""
    return root() / "lease"


def hub_home() -> Path:
    return root() / "hf-home"
