"""The prompt sets: given in the job's parameters, or the small harmless files beside this module."""

from __future__ import annotations

import hashlib
from pathlib import Path

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure

_FOLDER = Path(__file__).parent / "prompts"
SETS = {"good": "good", "bad": "bad", "goodEval": "good_eval", "badEval": "bad_eval"}


def lines_of(name: str) -> list[str]:
    """The non-empty lines of one shipped file."""
    return [line.strip() for line in (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines() if line.strip()]


def ablation_sets(context: JobContext) -> dict[str, list[str]]:
    """`good`, `bad`, `goodEval` and `badEval`; a set absent or null in parameter `prompts` comes from the shipped files."""
    given = context.param("prompts", dict, {})
    sets: dict[str, list[str]] = {}
    for key, file in SETS.items():
        lines = given.get(key)
        if lines is None:
            lines = lines_of(file)
        if not isinstance(lines, list) or not lines or not all(isinstance(line, str) and line.strip() for line in lines):
            raise JobFailure("BadInput", f"prompts.{key} must be a list of non-empty texts", "Correct the prompt sets.")
        sets[key] = lines
    return sets


def digest(lines: list[str]) -> str:
    """SHA-256 over the lines, each ended by a newline: what is recorded instead of the prompts themselves."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
