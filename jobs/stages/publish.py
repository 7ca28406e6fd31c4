"""Job `publish`: sends work/release to one branch of a repository."""

from __future__ import annotations

from typing import Any

from anneal_job import atomic
from anneal_job.context import JobContext
from artifacts import manifest
from hub.connection import connect
from hub.upload import upload
from toolchains.dispatch import enter

_CARD = "README.md"


def run(context: JobContext) -> dict[str, Any]:
    """Params: `repo`, `revision` (branch, exists), `hubEndpoint`, `disableXet`, `card` (text of README.md), `message`,
    `deleteOthers`, `manifest`.

    The card becomes README.md, then every file is hashed again and compared with `manifest` (verify's, with the card's
    entry in place of the base's README.md) before anything is sent. Idempotency: the content; equal trees give no new
    commit. Result: `commit` that holds exactly these files, `files` (their number), `uploadedBytes`. Raises
    `ManifestMismatch` naming the file, and the failures of `hub.upload`.
    """
    enter(context)
    release = context.paths.release
    card = context.param("card", str)
    atomic.write_bytes(release / _CARD, card.encode())
    files = manifest.require_equal(release, context.param("manifest", dict))
    context.check_stop()
    commit, sent = upload(
        context,
        connect(context),
        context.param("repo", str),
        context.param("revision", str),
        release,
        files,
        context.param("message", str),
        delete_others=context.param("deleteOthers", bool, False),
    )
    return {"commit": commit, "uploadedBytes": sent, "files": len(files)}
