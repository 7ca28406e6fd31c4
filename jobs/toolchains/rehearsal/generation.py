"""Token by token generation, shared by verify and the server so that both give the same answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from toolchains.rehearsal.decoder import Decoder, KeyValueCache, softmax
from toolchains.weights.number_formats import Float32


def _pick(logits: Float32, temperature: float, top_p: float, random: np.random.Generator) -> int:
    if temperature <= 0:
        return int(np.argmax(logits))
    probabilities = softmax(logits / np.float32(temperature)).astype(np.float64)
    order = np.argsort(-probabilities, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1]
    weights = probabilities[kept] / probabilities[kept].sum()
    return int(random.choice(kept, p=weights))


def generate(
    decoder: Decoder, prompt: list[int], max_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
) -> Iterator[int]:
    """Yields up to `max_tokens` ids after `prompt` and ends before an end-of-sequence id.

    Temperature 0 is greedy; otherwise the same seed gives the same ids. `top_p` keeps the smallest set of tokens whose
    probability reaches it.
    """
    random = np.random.default_rng(seed)
    cache = KeyValueCache()
    step = prompt
    for count in range(max_tokens):
        logits, _ = decoder.forward(step, cache)
        token = _pick(logits, temperature, top_p, random)
        if token in decoder.config.end_ids:
            return
        yield token
        if count + 1 == max_tokens:
            return
        step = [token]


def greedy(decoder: Decoder, prompt: list[int], max_tokens: int) -> list[int]:
    """The greedy continuation of `prompt`."""
    return list(generate(decoder, prompt, max_tokens))
