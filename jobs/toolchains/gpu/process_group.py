"""A program in the background with all that it starts: its output reaches the job's log, and nothing of it is left at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolchains.gpu.subprocesses import Ended, Tail, clean_environment

_KEEPER = Path(__file__).parent / "children" / "keep_group.py"
_STOP_SECONDS = 20.0
_DRAIN_SECONDS = 2.0
_POLL_SECONDS = 0.05


class Group:
    """A running program and what it started."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.tail = Tail()
        self.said_bytes = 0
        """How much the program has printed: the only sign of life while it loads."""
        self._process = subprocess.Popen(
            [sys.executable, str(_KEEPER), *command],
            cwd=folder,
            env=clean_environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._relay, daemon=True)
        self._reader.start()

    def running(self) -> bool:
        # Looked at without taking the exit status: until then the group's number cannot become another one's.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def ended(self) -> Ended:
        """How the program ended, with its last lines. Ends what it left behind."""
        return Ended(self.end(), self.tail.text())

    def end(self, seconds: float = _STOP_SECONDS) -> int:
        """SIGTERM to all of the group, SIGKILL to what is left after `seconds` or after the program. Returns its exit code."""
        if self._process.returncode is None:
            self._send(signal.SIGTERM)
            deadline = time.monotonic() + seconds
            while self.running() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            self._send(signal.SIGKILL)
        code = self._process.wait()
        self._reader.join(_DRAIN_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _relay(self) -> None:
        output = self._process.stdout
        assert output is not None
        with output:
            while data := os.read(output.fileno(), 65536):
                self.said_bytes += len(data)
                self.tail.feed(data)


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[Group]:
    """The program for as long as the block lasts; afterwards it and all it started are gone, also after a stop or failure.

    When this process itself is killed, the kernel closes the pipe by which its keeper notices, and the group is killed.
    """
    group = Group(command, environment, folder)
    try:
        yield group
    finally:
        group.end()
