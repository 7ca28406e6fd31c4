"""Makes a branch of a model repository hold exactly the files of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import FileDigest
from hub.activity_watch import sent_bytes, watching
from hub.patience import patiently
from hub.remote_tree import RemoteFile, files_at, head_of, missing_from

_HUB_OWN_FILES = frozenset({".gitattributes"})


def upload(
    context: JobContext,
    api: Any,
    repository: str,
    revision: str,
    folder: Path,
    files: list[FileDigest],
    message: str,
    *,
    delete_others: bool,
) -> tuple[str, int]:
    """Returns the commit id that holds `files` and the bytes that had to be sent.

    `folder` contains exactly `files`; repository and branch exist. Idempotency: the content. A branch that already holds
    it gets no commit. `delete_others` removes every other file except `.gitattributes`. The commit is read back and
    compared; a difference raises `UploadMismatch`.
    """

    def send() -> tuple[str, int]:
        commit = head_of(api, repository, revision)
        remote = files_at(api, repository, commit)
        missing = missing_from(remote, files)
        total = sum(file.size for file in missing)
        if not missing and not (delete_others and _others(remote, files)):
            return commit, 0
        before = sent_bytes()
        note = "estimated from the network counters"
        with watching(context.events, "upload", max(total, 1), lambda: sent_bytes() - before, note):
            api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                revision=revision,
                commit_message=message,
                allow_patterns=[file.path for file in files],
                delete_patterns=["*"] if delete_others else None,
            )
        # The client may split an upload into several commits; only the head is known to hold everything.
        commit = head_of(api, repository, revision)
        _require_published(files_at(api, repository, commit), files, commit, delete_others)
        return commit, total

    # Asked again, it sends what is missing: parts that arrived are on the Hub.
    return patiently(context, repository, send)


def _others(remote: dict[str, RemoteFile], files: list[FileDigest]) -> list[str]:
    return sorted(remote.keys() - {file.path for file in files} - _HUB_OWN_FILES)


def _require_published(remote: dict[str, RemoteFile], files: list[FileDigest], commit: str, delete_others: bool) -> None:
    wrong = [file.path for file in missing_from(remote, files)]
    wrong += _others(remote, files) if delete_others else []
    if wrong:
        raise JobFailure(
            "UploadMismatch",
            f"commit {commit} does not hold exactly the release; first difference: {wrong[0]}",
            "Publish again. If it repeats, something else writes to this branch.",
        )
