"""Text to token ids and back: tokenizer and chat template of a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from anneal_job.failures import JobFailure
from toolchains.weights.checkpoint import read_object


class Chat:
    """Tokenizer and template, as the serving side will use them."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        template_file = folder / "chat_template.jinja"
        if template_file.exists():
            template: object = template_file.read_text(encoding="utf-8")
        else:
            template = read_object(folder / "tokenizer_config.json").get("chat_template")
        if not isinstance(template, str):
            raise JobFailure("DamagedModel", "there is no chat template", "Take a base model that has one.")
        # The template comes with the model, so it runs in the sandbox.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self._template = environment.from_string(template)

    def render(self, messages: list[dict[str, Any]], **kwargs: Any) -> str:
        """The prompt text that opens the assistant's turn; `kwargs` are template switches such as `enable_thinking`."""
        return self._template.render(messages=messages, add_generation_prompt=True, **kwargs)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of `ids` without special tokens."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def prompt_ids(self, prompt: str, *, thinking: bool = False) -> list[int]:
        """Token ids of one user message, ready for the answer."""
        return self.encode(self.render([{"role": "user", "content": prompt}], enable_thinking=thinking))
