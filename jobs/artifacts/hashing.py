"""Digests of files, read once in pieces."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, order=True)
class FileDigest:
    """One file: path relative to its folder with forward slashes, size in bytes, SHA-256 and git blob id in hex."""

    path: str
    size: int
    sha256: str
    git_blob_sha1: str

    def to_json(self, *, git: bool = False) -> dict[str, Any]:
        value: dict[str, Any] = {"path": self.path, "size": self.size, "sha256": self.sha256}
        return value | {"gitBlobSha1": self.git_blob_sha1} if git else value


def digest_file(folder: Path, path: str) -> FileDigest:
    """Digests of `folder/path`. The git blob id is SHA-1 over `blob <size>\\0` and the content (git's object format)."""
    file = folder / path
    size = file.stat().st_size
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            sha256.update(piece)
            blob.update(piece)
    return FileDigest(path, size, sha256.hexdigest(), blob.hexdigest())


def sha256_of(path: Path) -> str:
    """SHA-256 of one file in hex."""
    return digest_file(path.parent, path.name).sha256


def list_files(folder: Path) -> list[str]:
    """Relative paths of all product files below `folder`, sorted.

    Left out: what download tools keep beside them (`.cache/`), unfinished files, and `.gitattributes`, which belongs to
    the Hub (uploading a shorter one would drop its patterns).
    """
    found: list[str] = []
    for file in folder.rglob("*"):
        relative = file.relative_to(folder)
        unfinished = file.name.endswith((".part", ".tmp"))
        if file.is_file() and relative.parts[0] != ".cache" and not unfinished and str(relative) != ".gitattributes":
            found.append(relative.as_posix())
    return sorted(found)
