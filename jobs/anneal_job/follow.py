"""`follow`: streams what a job says, from any offset, until its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from anneal_job import atomic, lease, process_identity
from anneal_job.clock import now_iso
from anneal_job.paths import JobPaths
from anneal_job.protocol import CallerError, Json, say

_POLL_SECONDS = 0.03
_FENCE_CHECK_SECONDS = 0.25
_READ_BYTES = 1024 * 1024


def require_job(paths: JobPaths) -> None:
    """Raises `UnknownJob` unless the job was once started here."""
    if not paths.job.exists():
        raise CallerError("UnknownJob", f"there is no job {paths.folder.name} on this pod")


def supervisor_alive(paths: JobPaths) -> bool:
    """True while the job's supervisor runs, judged by pid, start time and boot."""
    identity = process_identity.from_json(atomic.read_json(paths.supervisor))
    return identity is not None and identity.alive()


def beat_seconds() -> float:
    return max(0.05, float(os.environ.get("ANNEAL_BEAT_SECONDS", "2")))


class EventTail:
    """Complete event lines from a byte offset on."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self.offset = offset

    def read_new(self) -> list[tuple[int, Any]]:
        """Events that were completed since the last call, each with the byte offset after it; broken lines are skipped."""
        try:
            if self._path.stat().st_size <= self.offset:
                return []
            with self._path.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read(_READ_BYTES)
        except FileNotFoundError:
            return []
        found: list[tuple[int, Any]] = []
        while (end := data.find(b"\n")) >= 0:
            line, data = data[:end], data[end + 1 :]
            self.offset += end + 1
            try:
                found.append((self.offset, json.loads(line)))
            except ValueError:
                continue
        return found


def follow(paths: JobPaths, offset: int, token: str) -> None:
    """Prints event and beat lines until `exit`, `lost` or `fenced`.

    `offset` is a byte position in events.jsonl that an earlier line named, or 0. The newest follower wins: it writes its
    mark into `follower`, and older ones leave within one beat. A gone reader (EPIPE, SIGHUP) ends it silently.
    """
    require_job(paths)
    if offset < 0:
        raise CallerError("BadInput", "--from must not be negative")
    if paths.events.exists() and offset > paths.events.stat().st_size:
        raise CallerError("BadInput", f"--from {offset} is beyond the end of the events")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Python ignores SIGPIPE; the BrokenPipeError it raises instead is handled by the caller.
    mark = {"follower": token, "channel": uuid.uuid4().hex}
    atomic.write_json(paths.follower, mark)
    tail = EventTail(paths.events, offset)
    interval = beat_seconds()
    next_beat = 0.0
    next_fence_check = 0.0
    while True:
        # Liveness is read before exit.json: a supervisor seen dead has already written it, if it ever will.
        alive = supervisor_alive(paths)
        ended = atomic.read_json(paths.exit)
        while found := tail.read_new():
            for position, event in found:
                say({"type": "event", "offset": position, "event": event})
        if ended is not None:
            say({"type": "exit", "exit": ended, "result": atomic.read_json(paths.result)}, whole=True)
            return
        if not alive:
            say({"type": "lost"})
            return
        now = time.monotonic()
        if now >= next_fence_check:
            next_fence_check = now + min(_FENCE_CHECK_SECONDS, interval)
            if (atomic.read_json(paths.follower) or mark) != mark:
                say({"type": "fenced"})
                return
        if now >= next_beat:
            next_beat = now + interval
            lease.renew()
            say(_beat(paths, tail.offset, alive))
        time.sleep(_POLL_SECONDS)


def _beat(paths: JobPaths, offset: int, alive: bool) -> Json:
    program = process_identity.from_json((atomic.read_json(paths.supervisor) or {}).get("program"))
    return {
        "type": "beat",
        "at": now_iso(),
        "offset": offset,
        "alive": alive,
        "progressAgeSeconds": round(max(0.0, time.time() - _last_progress(paths)), 3),
        "gpu": gpu_use(),
        "rssBytes": process_identity.resident_bytes(program.pid) if program and program.alive() else None,
    }


def _last_progress(paths: JobPaths) -> float:
    try:
        return paths.events.stat().st_mtime
    except FileNotFoundError:
        return paths.job.stat().st_mtime


def gpu_use() -> Json | None:
    """Name, use in percent and memory in bytes of the first GPU, from nvidia-smi; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, timeout=1.5, check=True, text=True).stdout
        name, percent, used, total = (part.strip() for part in text.splitlines()[0].split(","))
        mebibyte = 1024 * 1024
        return {
            "name": name,
            "utilizationPercent": float(percent),
            "memoryUsedBytes": int(used) * mebibyte,
            "memoryTotalBytes": int(total) * mebibyte,
        }
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
