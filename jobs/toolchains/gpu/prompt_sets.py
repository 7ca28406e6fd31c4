"""The four prompt sets of an ablation and the calibration text, as local files: one prompt per line.

They lie outside work/ablate, whose content is copied off the pod: their text must not get into a database.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from anneal_job import atomic
from anneal_job.context import JobContext
from anneal_job.failures import JobFailure

SETS = ("good", "bad", "goodEval", "badEval")
# Those that may serve as ordinary text.
HARMLESS = ("good", "goodEval")
CALIBRATION = "calibration"

# What heretic 1.4.0 uses when nothing is set (its config.default.toml).
DEFAULTS: dict[str, dict[str, str]] = {
    "good": {"dataset": "mlabonne/harmless_alpaca", "split": "train[:400]", "column": "text"},
    "bad": {"dataset": "mlabonne/harmful_behaviors", "split": "train[:400]", "column": "text"},
    "goodEval": {"dataset": "mlabonne/harmless_alpaca", "split": "test[:100]", "column": "text"},
    "badEval": {"dataset": "mlabonne/harmful_behaviors", "split": "test[:100]", "column": "text"},
}


def folder(context: JobContext) -> Path:
    return context.paths.work / "prompts"


def path_of(context: JobContext, name: str) -> Path:
    return folder(context) / f"{name}.txt"


def store(context: JobContext, name: str, prompts: list[str], source: dict[str, Any]) -> dict[str, Any]:
    """Writes one set and what it came from; a prompt's own line breaks become spaces. Idempotent. Returns the record."""
    lines = [" ".join(prompt.split()) for prompt in prompts]
    lines = [line for line in lines if line]
    if not lines:
        raise JobFailure("BadInput", f"the prompt set {name!r} is empty", "Name a set with prompts in it.")
    folder(context).mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    atomic.write_bytes(path_of(context, name), text.encode())
    record = {**source, "prompts": len(lines), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    atomic.write_json(folder(context) / f"{name}.json", record)
    return record


def lines_given(value: object, name: str) -> list[str] | None:
    """The prompts of a set given as a list of texts in the request; None when it is given in another form."""
    if not isinstance(value, list):
        return None
    if not value or not all(isinstance(line, str) and line.strip() for line in value):
        raise JobFailure("BadInput", f"prompts.{name} must be a list of non-empty texts", "Correct the prompt sets.")
    return value


def require_sets(context: JobContext) -> dict[str, str]:
    """Set name to the SHA-256 of its file, for all four sets; those given as texts in param `prompts` are written first.

    Raises `PromptsMissing` when prepare has not brought one.
    """
    given = context.param("prompts", dict, {})
    for name in SETS:
        lines = lines_given(given.get(name), name)
        if lines is not None:
            store(context, name, lines, {"source": "given"})
    missing = [name for name in SETS if not path_of(context, name).exists()]
    if missing:
        raise JobFailure(
            "PromptsMissing",
            f"there is no prompt set {', '.join(missing)} on the pod",
            "Run prepare with the same prompts first.",
        )
    return {name: hashlib.sha256(path_of(context, name).read_bytes()).hexdigest() for name in SETS}


def lines_of(path: Path) -> list[str]:
    """The non-empty lines of one set."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
