"""What the Hub holds at one commit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from artifacts.hashing import FileDigest


@dataclass(frozen=True)
class RemoteFile:
    """One file at a commit: size in bytes, SHA-256 when it is a large file, git blob id of what git stores."""

    path: str
    size: int
    sha256: str | None
    git_blob_sha1: str

    def holds(self, local: FileDigest) -> bool:
        """True when the content equals the local file. A large file's git blob is its pointer, so SHA-256 decides there."""
        if self.size != local.size:
            return False
        return self.sha256 == local.sha256 if self.sha256 is not None else self.git_blob_sha1 == local.git_blob_sha1


def head_of(api: Any, repository: str, revision: str) -> str:
    """The full commit id that `revision` points to now."""
    commit: str = api.model_info(repository, revision=revision).sha
    return commit


def files_at(api: Any, repository: str, commit: str) -> dict[str, RemoteFile]:
    """Every file at `commit`, by path. A commit id, not a branch: a branch may move between two pages of the listing."""
    found: dict[str, RemoteFile] = {}
    for entry in api.list_repo_tree(repository, recursive=True, revision=commit):
        blob = getattr(entry, "blob_id", None)
        if blob is None:
            continue  # a folder
        large = getattr(entry, "lfs", None)
        found[entry.path] = RemoteFile(entry.path, entry.size, large.sha256 if large else None, blob)
    return found


def missing_from(remote: dict[str, RemoteFile], local: Iterable[FileDigest]) -> list[FileDigest]:
    """The local files that the remote does not hold with the same content."""
    return [file for file in local if (there := remote.get(file.path)) is None or not there.holds(file)]
