"""config.toml for heretic 1.4.0. It refuses unknown settings, with exit code 0: only what is in its documentation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

CHECKPOINTS = "checkpoints"
PROMPT_SECTIONS = {
    "good": "good_prompts",
    "bad": "bad_prompts",
    "goodEval": "good_evaluation_prompts",
    "badEval": "bad_evaluation_prompts",
}
_LONGEST_RANDOM_PHASE = 60


@dataclass(frozen=True)
class HereticSettings:
    """What a search is run with. Paths are relative to its folder, so that a journal means the same on another pod."""

    model: str
    prompts: dict[str, str]
    trials: int
    seed: int
    precision: str
    max_batch_size: int
    max_response_tokens: int
    response_prefix: str | None = None

    def to_toml(self) -> str:
        """The file's text."""
        top: dict[str, Any] = {
            "model": self.model,
            # float16 overflows on many models, and float32 only repeats a failed load with twice the memory.
            "dtypes": ["bfloat16"],
            "quantization": "bnb_4bit" if self.precision == "bnb_4bit" else "none",
            "max_batch_size": self.max_batch_size,
            "max_response_length": self.max_response_tokens,
            "n_trials": self.trials,
            "n_startup_trials": startup_trials(self.trials),
            "seed": self.seed,
            "study_checkpoint_dir": CHECKPOINTS,
            "export_strategy": "adapter",
            # Prompts and answers must not reach the log.
            "print_responses": False,
        }
        if self.response_prefix is not None:
            top["response_prefix"] = self.response_prefix
        lines = [f"{name} = {_value(value)}" for name, value in top.items()]
        for key, section in PROMPT_SECTIONS.items():
            lines += ["", f"[{section}]", f"dataset = {_value(self.prompts[key])}"]
        return "\n".join(lines) + "\n"


def startup_trials(trials: int) -> int:
    """The random phase: 60 of heretic's 200 trials, the same share of fewer."""
    return max(1, min(_LONGEST_RANDOM_PHASE, round(trials * 0.3)))


def _value(value: Any) -> str:
    # A JSON string without escapes beyond TOML's is a TOML basic string, and so are its numbers, booleans and lists.
    return json.dumps(value, ensure_ascii=True)
