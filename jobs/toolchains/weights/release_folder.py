"""work/release: what will be published, as hard links to a finished stage's output."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from anneal_job.atomic import sync_folder
from artifacts.hashing import list_files


def publish_folder(source: Path, release: Path) -> None:
    """Makes `release` a folder of hard links to `source`: no second copy on disk, replaced as a whole."""
    temporary = release.with_name(release.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for path in list_files(source):
        target = temporary / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source / path, target)
    shutil.rmtree(release, ignore_errors=True)
    temporary.rename(release)
    sync_folder(release.parent)


def total_bytes(folder: Path) -> int:
    """Bytes of all product files below `folder`."""
    return sum((folder / path).stat().st_size for path in list_files(folder))
