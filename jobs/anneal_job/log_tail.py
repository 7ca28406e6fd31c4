"""The part of log.txt that a follower has not seen."""

from __future__ import annotations

from pathlib import Path

from anneal_job.protocol import Json

PIECE_BYTES = 16 * 1024
# A reader that is farther behind than the first goes on with the last of it.
_BEHIND_BYTES = 1024 * 1024
_KEPT_BYTES = 256 * 1024


class LogTail:
    """Lines of one log from a byte offset on. Offsets only grow; what is skipped shows as a gap between two pieces."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self.offset = offset

    def read_piece(self, most_bytes: int = PIECE_BYTES, *, whole: bool = False) -> Json | None:
        """The next `log` line, None when there is nothing. `whole`: the file is final, so its last line needs no newline."""
        try:
            size = self._path.stat().st_size
            if size <= self.offset:
                return None
            with self._path.open("rb") as stream:
                self._skip(size)
                stream.seek(self.offset)
                data = stream.read(min(PIECE_BYTES, most_bytes))
        except FileNotFoundError:
            return None
        newline = data.rfind(b"\n")
        if newline >= 0:
            data = data[: newline + 1]
        elif not whole and len(data) < PIECE_BYTES:
            return None
        begin, self.offset = self.offset, self.offset + len(data)
        return {"type": "log", "from": begin, "to": self.offset, "text": _same_length_text(data)}

    def _skip(self, size: int) -> None:
        if size - self.offset <= _BEHIND_BYTES:
            return
        with self._path.open("rb") as stream:
            stream.seek(size - _KEPT_BYTES)
            # On to the next line, so that none begins in its middle.
            stream.readline()
            self.offset = stream.tell()


def _same_length_text(data: bytes) -> str:
    """UTF-8 as text; a byte that is none becomes one `?`, so that offsets still count."""
    return "".join("?" if "\udc80" <= char <= "\udcff" else char for char in data.decode(errors="surrogateescape"))
