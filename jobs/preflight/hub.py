"""What the Hub says to this pod's token, asked before anything large is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from hub.connection import TOKEN_NAME
from hub.patience import patiently


def look_at_hub(context: JobContext, api: Any) -> dict[str, Any]:
    """Identity and scope of the token, null without one. Facts only: whether the model may be read is seen by reading."""
    if not context.secrets.get(TOKEN_NAME):
        return {"identity": None, "scope": None}
    try:
        told = api.whoami()
    except Exception as error:  # an invalid token must not hide a public model
        return {"identity": None, "scope": None, "problem": type(error).__name__}
    token = (told.get("auth") or {}).get("accessToken") or {}
    return {"identity": told.get("name"), "scope": token.get("role")}


def read_config(context: JobContext, api: Any, repository: str, commit: str) -> dict[str, Any]:
    """The model's config.json at `commit`. Raises `GatedModel`, `RepositoryNotFound`, `UnsupportedModel` and what
    `named_failures` makes of the client's errors."""

    def fetch() -> str:
        path: str = api.hf_hub_download(repository, "config.json", revision=commit)
        return path

    def listed() -> bool:
        return bool(api.file_exists(repository, "config.json", revision=commit))

    if not patiently(context, repository, listed):
        raise JobFailure("UnsupportedModel", "the base has no config.json", "Use a repository in the transformers layout.")
    value: dict[str, Any] = json.loads(Path(patiently(context, repository, fetch)).read_bytes())
    return value
