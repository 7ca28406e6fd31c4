"""`status` and `stop`."""

from __future__ import annotations

import signal

from anneal_job import atomic, process_identity
from anneal_job.follow import require_job, supervisor_alive
from anneal_job.paths import JobPaths
from anneal_job.protocol import CallerError, Json


def status(paths: JobPaths) -> Json:
    """The `status` line: state, attempt, end of the events and the exit when there is one."""
    require_job(paths)
    alive = supervisor_alive(paths)
    ended = atomic.read_json(paths.exit)
    return {
        "type": "status",
        "state": "exited" if ended is not None else "running" if alive else "lost",
        "attempt": int((atomic.read_json(paths.supervisor) or {}).get("attempt", 0)),
        "offset": paths.events.stat().st_size if paths.events.exists() else 0,
        "exit": ended,
    }


def stop(paths: JobPaths, grace_seconds: float) -> Json:
    """Asks the job to save its state and end; after `grace_seconds` it is killed. Repeatable; returns at once."""
    require_job(paths)
    if not 0 <= grace_seconds <= 86400:
        raise CallerError("BadInput", "--grace-seconds must lie between 0 and 86400")
    identity = process_identity.from_json(atomic.read_json(paths.supervisor))
    alive = identity is not None and identity.alive()
    ended = atomic.read_json(paths.exit)
    if ended is not None:
        return {"type": "exited", "exit": ended}
    if identity is None or not alive:
        return {"type": "lost"}
    atomic.write_json(paths.stop, {"graceSeconds": grace_seconds})
    identity.send(signal.SIGTERM)
    return {"type": "stopping"}
