"""The Hub client, configured before its first import: it reads its environment only then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure
from anneal_job.paths import hub_home

TOKEN_NAME = "HF_TOKEN"


def connect(context: JobContext) -> Any:
    """An `HfApi` for the job's endpoint and token.

    The token is passed as an argument and never enters the environment, where child processes and crash dumps see it.
    Params: `hubEndpoint`, `disableXet`.
    """
    endpoint = context.param("hubEndpoint", str).rstrip("/")
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(hub_home()),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    }
    if context.param("disableXet", bool, False):
        settings["HF_HUB_DISABLE_XET"] = "1"
    os.environ.update(settings)
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, token=context.secrets.get(TOKEN_NAME) or False)


@contextmanager
def named_failures(repository: str) -> Iterator[None]:
    """Turns the client's errors that a person must solve into named failures; lets the others through."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise JobFailure(
            "GatedModel", f"{repository} is gated: {error}", f"Accept its terms on the Hub ({repository}), then resume."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise JobFailure("RevisionNotFound", f"{repository}: {error}", "Check the revision.") from error
    except errors.RepositoryNotFoundError as error:
        raise JobFailure(
            "RepositoryNotFound",
            f"{repository}: {error}",
            "Check the name, and that the token may read it: private looks like missing.",
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise JobFailure(
                "HubForbidden", f"{repository}: {error}", "Use a token with the needed rights, or free storage."
            ) from error
        if status == 429 or (status is not None and status >= 500):
            raise unavailable(repository, error) from error
        raise
    except Exception as error:
        if _is_transport_error(error):
            raise unavailable(repository, error) from error
        raise


def unavailable(repository: str, error: Exception) -> JobFailure:
    """The failure of a Hub that cannot be reached or is busy."""
    return JobFailure("HubUnavailable", f"{repository}: {type(error).__name__}: {error}", "Retry later; finished parts are kept.")


def _is_transport_error(error: Exception) -> bool:
    """True for a broken or refused connection.

    The HTTP library differs between generations of the client (requests, httpx, httpx2), so its classes are known by the
    name of their package; `LocalEntryNotFoundError` is the client's own word for an unreachable Hub and an empty cache.
    """
    package = type(error).__module__.partition(".")[0]
    own = isinstance(error, ConnectionError | TimeoutError) or type(error).__name__ == "LocalEntryNotFoundError"
    return own or package in ("requests", "httpx", "httpx2", "httpcore", "httpcore2")
