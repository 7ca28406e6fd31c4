"""What a release is asked, by verify itself and of a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Questions:
    """Each of `prompts` is one user turn, answered greedily in at most `max_tokens` tokens; `thinking`: whether the chat
    template may open a thought, as the endpoint's will be told."""

    prompts: list[str]
    max_tokens: int
    thinking: bool

    def to_json(self) -> dict[str, Any]:
        return {"prompts": self.prompts, "maxTokens": self.max_tokens, "thinking": self.thinking}
