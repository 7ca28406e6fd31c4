"""Reports progress while a library call works that cannot report by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from anneal_job.events import EventLog

_SAMPLE_SECONDS = 0.5


@contextmanager
def watching(
    events: EventLog, phase: str, total_bytes: int, measure: Callable[[], int], note: str | None = None
) -> Iterator[None]:
    """Calls `measure` (bytes done) twice a second in a thread and reports it when it has grown.

    Silence while nothing moves is meant: the follower's stall detection lives on it.
    """
    done = threading.Event()
    reported = -1

    def report() -> None:
        nonlocal reported
        # One byte short of the total until the call has returned: only then is it certain that all is done.
        now = min(measure(), total_bytes - 1)
        if now > reported:
            reported = now
            events.progress(phase, now, total_bytes, "bytes", note)

    def loop() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            report()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    events.progress(phase, total_bytes, total_bytes, "bytes", note)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`, unfinished downloads included; files that vanish meanwhile count nothing."""
    total = 0
    for file in folder.rglob("*"):
        try:
            if file.is_file():
                total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def sent_bytes() -> int:
    """Bytes this machine has sent on all interfaces since boot (field 9 of /proc/net/dev)."""
    try:
        lines = Path("/proc/net/dev").read_text().splitlines()[2:]
        return sum(int(line.split(":", 1)[1].split()[8]) for line in lines)
    except (OSError, ValueError, IndexError):
        return 0
