"""Starting other programs: they die with this one, a stop reaches them, their output reaches the job's log."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anneal_job.context import JobContext
from anneal_job.failures import JobStopped

TAIL_LINES = 200
_POLL_SECONDS = 0.2
_STOP_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)
# Container environments carry keys of the provider; no tool needs one.
_SECRET_ENDINGS = ("_TOKEN", "_KEY", "_SECRET", "_PASSWORD")


@dataclass(frozen=True)
class Ended:
    """How a program ended: exit code, or minus the signal's number, and its last lines."""

    code: int
    tail: str


class Tail:
    """Copies output to this program's own, which is the job's log, and remembers the last lines."""

    def __init__(self, lines: int = TAIL_LINES) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._open = ""

    def feed(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        *whole, self._open = (self._open + data.decode(errors="replace")).split("\n")
        # A progress bar redraws one line; only its last state is worth keeping.
        self._lines.extend(line.rsplit("\r", 1)[-1][-2000:] for line in whole)
        self._open = self._open[-8000:]

    def text(self) -> str:
        return "\n".join([*self._lines, self._open]).strip()


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what looks like a secret, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(_SECRET_ENDINGS)}
    # An outer virtual environment must not leak into one chosen by its interpreter.
    # QUANTIZATION would make a server read the weights as something that they are not.
    for name in ("VIRTUAL_ENV", "PYTHONHOME", "QUANTIZATION"):
        kept.pop(name, None)
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    pass_fds: Sequence[int] = (),
    split_errors: bool = False,
) -> subprocess.Popen[bytes]:
    """Starts a program with pipes. It is killed when this process dies, and SIGINT has its default effect in it."""
    parent = os.getpid()

    def before_exec() -> None:
        # A program started in the background inherits an ignored SIGINT, and then a soft stop would do nothing.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(
        command,
        cwd=folder,
        env=clean_environment(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if split_errors else subprocess.STDOUT,
        pass_fds=pass_fds,
        preexec_fn=before_exec,
    )


def end(process: subprocess.Popen[bytes], seconds: float = _STOP_SECONDS) -> None:
    """Ends a program: SIGTERM, and SIGKILL when that is not enough. Returns when it is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def run_to_end(
    context: JobContext,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: bytes = b"",
    folder: Path | None = None,
    report: tuple[int, int, Callable[[bytes], None]] | None = None,
) -> Ended:
    """Runs a program to its end. A stop ends it with SIGTERM and raises `JobStopped`.

    `report` is a pipe (read end, write end) that the program inherits, and what takes the data written to it.
    """
    tail = Tail()
    process = spawn(command, environment, folder=folder, pass_fds=[report[1]] if report else [])
    try:
        if report:
            os.close(report[1])
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
        _relay(context, process, process.stdout, tail, report)
        return Ended(process.wait(), tail.text())
    finally:
        end(process)
        assert process.stdout is not None
        process.stdout.close()


def _relay(
    context: JobContext,
    process: subprocess.Popen[bytes],
    output: IO[bytes],
    tail: Tail,
    report: tuple[int, int, Callable[[bytes], None]] | None,
) -> None:
    ended_at: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ, tail.feed)
        if report:
            selector.register(report[0], selectors.EVENT_READ, report[2])
        while selector.get_map():
            for key, _ in selector.select(timeout=_POLL_SECONDS):
                data = os.read(key.fd, 65536)
                if data:
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
            if context.stop_requested():
                end(process)
                raise JobStopped
            # A grandchild may hold the pipes open after the program's end; it is not waited for.
            if process.poll() is not None:
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > 1.0:
                    return
