"""Brings one pinned commit of a model repository to a folder and proves it complete."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from artifacts.hashing import FileDigest, digest_file, list_files
from hub.activity_watch import folder_bytes, watching
from hub.patience import patiently
from hub.remote_tree import RemoteFile, files_at

# Weights in other formats would double the download, as would a second copy: in a folder, or by the name that Mistral's own
# tools use. The plan counts them in the same way (activities/lib/base-model.ts). .gitattributes belongs to the Hub.
IGNORED_PATTERNS = [
    *("*.bin", "*.pth", "*.gguf", "original/*", "*/*.safetensors", "consolidated*.safetensors"),
    ".gitattributes",
]


def download(context: JobContext, api: Any, repository: str, commit: str, folder: Path) -> list[FileDigest]:
    """Downloads `repository` at `commit` into `folder` and returns the digests of its files, sorted by path.

    Idempotency key: repository and commit; present files are kept, partial ones continued. Content is compared with the
    Hub's metadata; a corrupt file is fetched once more, then `CorruptDownload` is raised. A busy Hub is waited for.
    """
    listed = patiently(context, repository, lambda: files_at(api, repository, commit))
    wanted = {path: file for path, file in listed.items() if not ignored(path)}
    total = sum(file.size for file in wanted.values())
    # Only now is it certain that the commit exists; what lies in the folder is not given up before.
    _claim(folder, repository, commit)
    _require_room(folder, total)

    def fetch() -> None:
        with watching(context.events, "download", max(total, 1), lambda: folder_bytes(folder)):
            api.snapshot_download(repository, revision=commit, local_dir=folder, ignore_patterns=IGNORED_PATTERNS)

    patiently(context, repository, fetch)
    for path in list_files(folder):
        if path not in wanted:
            (folder / path).unlink()
    digests: list[FileDigest] = []
    checked = 0
    for file in sorted(wanted.values(), key=lambda entry: entry.path):
        context.check_stop()
        digests.append(_checked(context, api, repository, commit, folder, file))
        checked += file.size
        context.events.progress("hash", checked, max(total, 1), "bytes")
    return sorted(digests)


def ignored(path: str) -> bool:
    """Whether a file of a model repository is left where it is."""
    return any(fnmatch(path, pattern) for pattern in IGNORED_PATTERNS)


def _claim(folder: Path, repository: str, commit: str) -> None:
    """Empties `folder` when it holds another commit, and notes beside it what it holds from now on."""
    note = folder.with_name(f"{folder.name}.json")
    mine = {"repository": repository, "commit": commit}
    if atomic.read_json(note) != mine:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(note, mine)


def _require_room(folder: Path, total_bytes: int) -> None:
    free, missing = shutil.disk_usage(folder).free, total_bytes - folder_bytes(folder)
    if missing > free:
        raise JobFailure("DiskFull", f"{missing} bytes are still to be downloaded, {free} are free", "Use a larger volume.")


def _checked(context: JobContext, api: Any, repository: str, commit: str, folder: Path, file: RemoteFile) -> FileDigest:
    digest = _digest(folder, file.path)
    if digest is not None and file.holds(digest):
        return digest
    (folder / file.path).unlink(missing_ok=True)
    patiently(
        context,
        repository,
        lambda: api.hf_hub_download(repository, file.path, revision=commit, local_dir=folder, force_download=True),
    )
    digest = _digest(folder, file.path)
    if digest is None or not file.holds(digest):
        raise JobFailure(
            "CorruptDownload",
            f"{file.path} does not have the content that the Hub names for it, also after a second download",
            "Start again on another pod; if it happens there too, the repository itself is damaged.",
        )
    return digest


def _digest(folder: Path, path: str) -> FileDigest | None:
    try:
        return digest_file(folder, path)
    except FileNotFoundError:
        return None
