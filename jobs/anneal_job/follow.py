"""`follow`: streams what a job says, from any offset, until its end."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal_job import atomic, lease, process_identity, telemetry
from anneal_job.clock import now_iso
from anneal_job.log_tail import LogTail
from anneal_job.paths import JobPaths
from anneal_job.protocol import CallerError, Json, check_protocol, say
from anneal_job.rate import Allowance

_POLL_SECONDS = 0.03
_FENCE_CHECK_SECONDS = 0.25
_READ_BYTES = 1024 * 1024
# More is no use to a reader: it needs the newest progress, and the file on the pod keeps all.
_EVENTS_AT_ONCE = 400
_EVENTS_PER_SECOND = 100
_LOG_BYTES_AT_ONCE = 256 * 1024
_LOG_BYTES_PER_SECOND = 32 * 1024


def require_job(paths: JobPaths) -> None:
    """Raises `UnknownJob` unless the job was once started here, `ProtocolMismatch` when its files cannot be read."""
    job = atomic.read_json(paths.job)
    if job is None:
        raise CallerError("UnknownJob", f"there is no job {paths.folder.name} on this pod")
    check_protocol(job.get("protocol"), paths.folder.name)


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

    def read_new(self, most: int) -> list[tuple[int, Any]] | None:
        """The newest `most` (at least one) of the events completed since the last call, each with the byte offset after it.

        Older ones of the same read are skipped, broken lines always. None when nothing was completed.
        """
        try:
            if self._path.stat().st_size <= self.offset:
                return None
            with self._path.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read(_READ_BYTES)
        except FileNotFoundError:
            return None
        end = data.rfind(b"\n") + 1
        if end == 0:
            # No event is that long; what follows its end is read again.
            self.offset += len(data) if len(data) == _READ_BYTES else 0
            return [] if len(data) == _READ_BYTES else None
        lines = data[:end].split(b"\n")[:-1]
        shown = lines[-max(1, most) :]
        position = self.offset + sum(len(line) + 1 for line in lines[: len(lines) - len(shown)])
        self.offset += end
        found: list[tuple[int, Any]] = []
        for line in shown:
            position += len(line) + 1
            try:
                found.append((position, json.loads(line)))
            except ValueError:
                continue
        return found


@dataclass(frozen=True)
class Follower:
    """Who follows. Of two, the one of the higher generation stays; of equals, the newer one."""

    token: str
    generation: int = 0

    def take_over(self, paths: JobPaths) -> Json | None:
        """Marks this follower as the one; None when a follower of a later generation has been here."""
        with paths.follower_lock.open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            if _generation(paths) > self.generation:
                return None
            mark = {"follower": self.token, "generation": self.generation, "channel": uuid.uuid4().hex}
            atomic.write_json(paths.follower, mark)
            return mark


def _generation(paths: JobPaths) -> int:
    value = (atomic.read_json(paths.follower) or {}).get("generation", 0)
    return value if isinstance(value, int) else 0


def follow(paths: JobPaths, offset: int, follower: Follower, log_offset: int | None = None) -> None:
    """Prints event, log and beat lines until `exit`, `lost` or `fenced`.

    `offset` is a byte position in events.jsonl that an earlier line named, or 0; `log_offset` the same for log.txt, None
    for no log. A follower that has been superseded leaves within one beat and never comes back. A gone reader (EPIPE,
    SIGHUP) ends it silently.
    """
    require_job(paths)
    if offset < 0 or (log_offset or 0) < 0:
        raise CallerError("BadInput", "--from and --log-from must not be negative")
    if paths.events.exists() and offset > paths.events.stat().st_size:
        raise CallerError("BadInput", f"--from {offset} is beyond the end of the events")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Python ignores SIGPIPE; the BrokenPipeError it raises instead is handled by the caller.
    mark = follower.take_over(paths)
    if mark is None:
        say({"type": "fenced"})
        return
    log = None if log_offset is None else LogTail(paths.log, log_offset)
    channel = _Channel(paths, mark, EventTail(paths.events, offset), log)
    try:
        channel.run()
    finally:
        channel.close()


class _Channel:
    def __init__(self, paths: JobPaths, mark: Json, events: EventTail, log: LogTail | None) -> None:
        self._paths = paths
        self._mark = mark
        self._events = events
        self._log = log
        self._event_allowance = Allowance(_EVENTS_AT_ONCE, _EVENTS_PER_SECOND)
        self._log_allowance = Allowance(_LOG_BYTES_AT_ONCE, _LOG_BYTES_PER_SECOND)
        self._gpu = telemetry.GpuProbe()

    def run(self) -> None:
        paths = self._paths
        interval = beat_seconds()
        next_beat = 0.0
        next_fence_check = 0.0
        while True:
            # Liveness is read before exit.json: a supervisor seen dead has already written it, if it ever will.
            alive = supervisor_alive(paths)
            ended = atomic.read_json(paths.exit)
            over = ended is not None or not alive
            busy = self._say_events()
            while over and self._say_events():
                pass
            self._say_log(whole=over)
            if ended is not None:
                say({"type": "exit", "exit": ended, "result": atomic.read_json(paths.result)}, whole=True)
                return
            if not alive:
                say({"type": "lost"})
                return
            now = time.monotonic()
            if now >= next_fence_check:
                next_fence_check = now + min(_FENCE_CHECK_SECONDS, interval)
                if (atomic.read_json(paths.follower) or self._mark) != self._mark:
                    say({"type": "fenced"})
                    return
            if now >= next_beat:
                next_beat = now + interval
                lease.renew()
                say(self._beat(alive))
            if not busy:
                time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        self._gpu.close()

    def _say_events(self) -> bool:
        """True when there may be more at once."""
        before = self._events.offset
        found = self._events.read_new(int(self._event_allowance.left()))
        for position, event in found or []:
            say({"type": "event", "offset": position, "event": event})
            self._event_allowance.take(1)
        return found is not None and self._events.offset - before >= _READ_BYTES // 2

    def _say_log(self, *, whole: bool) -> None:
        """At the end all that is left is said; until then only as fast as a reader stores it."""
        if self._log is None:
            return
        while whole or self._log_allowance.left() > 0:
            piece = self._log.read_piece(whole=whole)
            if piece is None:
                return
            self._log_allowance.spend(piece["to"] - piece["from"])
            say(piece, whole=True)

    def _beat(self, alive: bool) -> Json:
        program = process_identity.from_json((atomic.read_json(self._paths.supervisor) or {}).get("program"))
        return {
            "type": "beat",
            "at": now_iso(),
            "offset": self._events.offset,
            "alive": alive,
            "progressAgeSeconds": round(max(0.0, time.time() - _last_progress(self._paths)), 3),
            "gpu": self._gpu.read(),
            "rssBytes": telemetry.resident_bytes(program.pid) if program and program.alive() else None,
            "memoryLimitBytes": telemetry.memory_limit_bytes(),
            "diskFreeBytes": telemetry.disk_free_bytes(self._paths.folder),
        }


def _last_progress(paths: JobPaths) -> float:
    try:
        return paths.events.stat().st_mtime
    except FileNotFoundError:
        return paths.job.stat().st_mtime
