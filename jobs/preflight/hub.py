"""What the Hub says to this pod's token, asked before anything large is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from hub.connection import TOKEN_NAME
from hub.patience import patiently


def look_at_hub(context: JobContext, api: Any, repository: str, commit: str) -> dict[str, Any]:
    """Whether the repository is gated and private, and the token's identity and scope, null without one.

    Raises `RepositoryNotFound`, `RevisionNotFound`, `HubForbidden` or `HubUnavailable`. Whether a gated model may be read
    is seen by reading its config.
    """
    info = patiently(context, repository, lambda: api.model_info(repository, revision=commit))
    facts = {"gated": getattr(info, "gated", None) or False, "private": bool(getattr(info, "private", False))}
    if not context.secrets.get(TOKEN_NAME):
        return {**facts, "identity": None, "scope": None}
    try:
        told = api.whoami()
    except Exception as error:  # an invalid token must not hide a public model
        return {**facts, "identity": None, "scope": None, "problem": type(error).__name__}
    token = (told.get("auth") or {}).get("accessToken") or {}
    return {**facts, "identity": told.get("name"), "scope": token.get("role")}


def read_config(context: JobContext, api: Any, repository: str, commit: str) -> dict[str, Any]:
    """The model's config.json at `commit`. Raises `GatedModel`, `RepositoryNotFound`, `UnsupportedModel` and what
    `named_failures` makes of the client's errors."""

    from huggingface_hub import errors

    def fetch() -> str | None:
        try:
            path: str = api.hf_hub_download(repository, "config.json", revision=commit)
        except errors.LocalEntryNotFoundError:
            raise  # the client's word for an unreachable Hub
        except errors.EntryNotFoundError:
            return None
        return path

    path = patiently(context, repository, fetch)
    if path is None:
        raise JobFailure("UnsupportedModel", "the base has no config.json", "Use a repository in the transformers layout.")
    value: dict[str, Any] = json.loads(Path(path).read_bytes())
    return value
