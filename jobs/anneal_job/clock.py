"""Wall-clock times as they appear in files and lines."""

from __future__ import annotations

from datetime import datetime, timezone


def now_iso() -> str:
    """The present as ISO 8601 in UTC with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
