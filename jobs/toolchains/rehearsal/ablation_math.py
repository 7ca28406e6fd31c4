"""Directional ablation: where the direction comes from and what removing it means.

Direction: normalised difference of the mean last-token residuals of two prompt sets. Change, with d of length 1:
`W' = W - s * d (d^T W)` for every matrix that writes into the residual stream, which is an adapter of rank 1 with
`B = -s * d` and `A = d^T W`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchains.rehearsal.decoder import Decoder, kl_divergence
from toolchains.weights.number_formats import Float32


@dataclass(frozen=True)
class Measured:
    """One network on the held-out prompts.

    `projection`: size of the difference of the two sets' means along the direction, averaged over the streams after each
    layer (residual units). `kl`: mean first-token KL from the base on the good prompts (nats).
    """

    projection: float
    kl: float


@dataclass(frozen=True)
class HeldOut:
    """Held-out prompts as token ids, with the base's first-token logits on the good ones."""

    good: list[list[int]]
    bad: list[list[int]]
    base_logits: list[Float32]


def last_residuals(decoder: Decoder, prompts: list[list[int]]) -> Float32:
    """Last-token residuals after the embedding and each layer: (prompts, layers + 1, hidden)."""
    return np.stack([np.stack(decoder.forward(ids)[1]) for ids in prompts])


def find_direction(good: Float32, bad: Float32) -> tuple[int, Float32]:
    """The layer whose difference of means stands out most from the spread within the sets, and that unit direction.

    `good` and `bad` are results of `last_residuals`. Layer k is the stream after k layers; the last one is left out, as
    nothing but the output head reads it.
    """
    best_layer, best_ratio, best = 1, -1.0, np.zeros(good.shape[2], dtype=np.float32)
    for layer in range(1, max(2, good.shape[1] - 1)):
        difference = bad[:, layer].mean(axis=0) - good[:, layer].mean(axis=0)
        length = float(np.linalg.norm(difference))
        spread = float(np.sqrt(good[:, layer].var(axis=0).sum() + bad[:, layer].var(axis=0).sum()))
        if length > 0 and length / (spread + 1e-12) > best_ratio:
            best_layer, best_ratio = layer, length / (spread + 1e-12)
            best = (difference / np.float32(length)).astype(np.float32)
    return best_layer, best


def target_names(layers: int, first: int) -> list[str]:
    """The matrices that write into the residual stream, from layer `first` on."""
    return [f"model.layers.{n}.{part}.weight" for n in range(first, layers) for part in ("self_attn.o_proj", "mlp.down_proj")]


def ablated(decoder: Decoder, direction: Float32, strength: float, first_layer: int) -> Decoder:
    """The network with the direction removed from its target matrices by `strength` (1 = entirely)."""
    changed: dict[str, Float32] = {}
    for name in target_names(decoder.config.layers, first_layer):
        weight = decoder.weights[name]
        change = np.float32(strength) * np.outer(direction, direction @ weight)
        changed[name] = np.asarray(weight - change, dtype=np.float32)
    return decoder.with_weights(changed)


def measure(decoder: Decoder, held_out: HeldOut, direction: Float32) -> Measured:
    """Runs the held-out prompts through `decoder`."""
    divergences, good = [], []
    for ids, base in zip(held_out.good, held_out.base_logits, strict=True):
        logits, residuals = decoder.forward(ids)
        divergences.append(kl_divergence(base, logits))
        good.append(np.stack(residuals[1:]) @ direction)
    bad = [np.stack(decoder.forward(ids)[1][1:]) @ direction for ids in held_out.bad]
    # Per layer first: differences of opposite sign in two layers must not cancel.
    per_layer = np.abs(np.mean(bad, axis=0) - np.mean(good, axis=0))
    return Measured(float(per_layer.mean()), float(np.mean(divergences)))
