"""log.txt: a program's output with secrets removed, whatever and however much it prints."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from anneal_job.rate import Allowance
from anneal_job.secrets_filter import SecretsFilter

LINE_LIMIT_BYTES = 8 * 1024
# What a job may write at once, and for ever: an hour of flood takes 29 MB of disk.
_BURST_BYTES = 1024 * 1024
_BYTES_PER_SECOND = 8 * 1024
# After a flood the log goes on with a piece that can be read, not with single lines between markers.
_PIECE_BYTES = 64 * 1024
_TAIL_LINES = 60
_REDRAWN_SECONDS = 5.0
_EVENT_LINE = b'{"type":"'


class LogRelay:
    """Copies output to log.txt line by line and remembers the last lines.

    Promise: memory stays below a MB and the file within the allowance. A line longer than `LINE_LIMIT_BYTES` is cut, a
    flood leaves a gap; both say how many bytes are missing. Lines that redraw themselves (ended by a carriage return)
    are taken every 5 s. The last lines before the end are always there. The file is valid UTF-8.
    """

    def __init__(self, path: Path, secrets: SecretsFilter, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = path.open("ab", buffering=0)
        self._secrets = secrets
        self._clock = clock
        self._allowance = Allowance(_BURST_BYTES, _BYTES_PER_SECOND, clock)
        self._pending = b""
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._redrawn_at = -1e9
        # Of the line that is being cut, and of the flood that is being left out.
        self._cut_bytes: int | None = None
        self._lost_bytes = 0
        self._lost_lines = 0

    def feed(self, data: bytes) -> None:
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._end_line(line)
        self._take_redrawn()
        self._cut_pending()

    def finish(self) -> None:
        if self._pending or self._cut_bytes is not None:
            self._end_line(self._pending)
            self._pending = b""
        if self._lost_lines > 0:
            kept = list(self._tail)[-self._lost_lines :]
            self._lost_bytes -= sum(len(line) + 1 for line in kept)
            self._say_lost()
            for line in kept:
                self._write(line)

    def tail(self) -> str:
        """The last lines, without the events among them, secrets removed."""
        lines = (line for line in self._tail if not line.startswith(_EVENT_LINE))
        return "\n".join(self._secrets.data(line)[-1000:].decode(errors="replace") for line in lines)

    def _end_line(self, line: bytes) -> None:
        if self._cut_bytes is not None:
            self._keep(f"…[{self._cut_bytes + len(line)} bytes of this line left out]".encode())
            self._cut_bytes = None
            return
        if b"\r" in line:
            line = line.rstrip(b"\r").rpartition(b"\r")[2]
        if len(line) > LINE_LIMIT_BYTES:
            clean = self._secrets.data(line)
            line = clean[:LINE_LIMIT_BYTES] + f"…[{max(0, len(clean) - LINE_LIMIT_BYTES)} bytes of this line left out]".encode()
        self._keep(line)

    def _take_redrawn(self) -> None:
        # The last byte may be the first half of "\r\n".
        end = self._pending.rfind(b"\r", 0, max(0, len(self._pending) - 1))
        if end < 0:
            return
        shown = self._pending[:end].rstrip(b"\r").rpartition(b"\r")[2]
        self._pending = self._pending[end + 1 :]
        if self._cut_bytes is not None:
            self._end_line(b"")
        elif shown and self._clock() - self._redrawn_at >= _REDRAWN_SECONDS:
            self._redrawn_at = self._clock()
            self._end_line(shown)

    def _cut_pending(self) -> None:
        # A secret may begin before the cut and end behind it, so as much as the longest one takes is held back.
        held_back = self._secrets.longest_bytes
        if self._cut_bytes is not None:
            self._cut_bytes += len(self._pending)
            self._pending = b""
        elif len(self._pending) > LINE_LIMIT_BYTES + held_back:
            clean = self._secrets.data(self._pending)
            shown = clean[: min(LINE_LIMIT_BYTES, max(0, len(clean) - held_back))]
            self._cut_bytes = len(clean) - len(shown)
            self._pending = b""
            self._keep(shown)

    def _keep(self, line: bytes) -> None:
        self._tail.append(line)
        needed = len(line) + 1
        if self._allowance.take(needed, at_least=_PIECE_BYTES if self._lost_lines > 0 else 0):
            self._say_lost()
            self._write(line)
        else:
            self._lost_bytes += needed
            self._lost_lines += 1

    def _say_lost(self) -> None:
        if self._lost_bytes > 0:
            self._write(f"… {self._lost_bytes} bytes left out: the job writes faster than its log may grow …".encode())
        self._lost_bytes = self._lost_lines = 0

    def _write(self, line: bytes) -> None:
        clean = self._secrets.data(line).decode(errors="replace").encode()
        # A full disk must not take the supervisor down: it still has to record the end.
        with contextlib.suppress(OSError):
            self._stream.write(clean + b"\n")
