"""The manifest: exactly which files a release consists of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from anneal_job.failures import JobFailure
from artifacts.hashing import FileDigest, digest_file, list_files


def digest_of(files: Iterable[FileDigest]) -> str:
    """SHA-256 in hex over one line `path NUL size NUL sha256 LF` per file, in order of path."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.path}\0{file.size}\0{file.sha256}\n".encode())
    return total.hexdigest()


def build(folder: Path) -> list[FileDigest]:
    """Digests of every product file in `folder`, sorted by path."""
    return sorted(digest_file(folder, path) for path in list_files(folder))


def to_json(files: list[FileDigest]) -> dict[str, Any]:
    return {"files": [file.to_json(git=True) for file in sorted(files)], "digest": digest_of(files)}


def require_equal(folder: Path, manifest: dict[str, Any]) -> list[FileDigest]:
    """Hashes `folder` again and returns its digests when they equal `manifest`, else raises `ManifestMismatch`."""
    expected = {str(entry["path"]): entry for entry in manifest.get("files", [])}
    if not expected:
        raise JobFailure("BadInput", "the manifest lists no files", "Run verify first and pass its manifest on.")
    found = {file.path: file for file in build(folder)}
    for path in sorted(expected.keys() | found.keys()):
        entry, file = expected.get(path), found.get(path)
        if entry is None:
            problem = f"{path} is not in the manifest"
        elif file is None:
            problem = f"{path} is missing"
        elif (file.size, file.sha256) != (entry["size"], entry["sha256"]):
            problem = f"{path} differs: {file.size} bytes {file.sha256} instead of {entry['size']} bytes {entry['sha256']}"
        else:
            continue
        raise JobFailure("ManifestMismatch", problem, "The release changed after it was verified. Run quantize and verify again.")
    return sorted(found.values())
