"""Keeps secret values out of everything that is written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


class SecretsFilter:
    """Replaces every known secret value by `***`, in plain and in JSON-escaped form."""

    def __init__(self, values: Iterable[str]) -> None:
        forms: set[str] = set()
        for value in values:
            if value:
                forms |= {value, json.dumps(value)[1:-1]}
        # Longest first: one secret may contain another.
        self._forms = sorted(forms, key=len, reverse=True)
        self.longest_bytes = max((len(form.encode()) for form in forms), default=0)

    def text(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def data(self, data: bytes) -> bytes:
        for form in self._forms:
            data = data.replace(form.encode(), b"***")
        return data

    def value(self, value: Any) -> Any:
        """The same JSON value with every string, keys included, filtered."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value
