"""A Qwen3-style decoder in numpy: RMSNorm, q/k norm, rotary positions, grouped-query attention, SwiGLU.

Formulae as in the published Qwen3 architecture; all arithmetic is float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anneal_job.failures import JobFailure
from toolchains.rehearsal import int4_packing
from toolchains.weights import checkpoint
from toolchains.weights.number_formats import Float32, to_float32
from toolchains.weights.safetensors_io import Tensor


@dataclass(frozen=True)
class DecoderConfig:
    """The numbers of config.json that the arithmetic needs."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    norm_epsilon: float
    rope_theta: float
    max_positions: int
    vocabulary: int
    end_ids: tuple[int, ...]

    @staticmethod
    def from_json(config: dict[str, Any]) -> DecoderConfig:
        """Reads config.json; raises `UnsupportedModel` for another architecture."""
        if config.get("model_type") != "qwen3":
            raise JobFailure(
                "UnsupportedModel",
                f"the rehearsal decoder reads model_type qwen3, not {config.get('model_type')!r}",
                "Use a Qwen3-style model for rehearsals.",
            )
        ends = config.get("eos_token_id", [])
        return DecoderConfig(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            head_width=config["head_dim"],
            norm_epsilon=config["rms_norm_eps"],
            rope_theta=float(config["rope_theta"]),
            max_positions=config["max_position_embeddings"],
            vocabulary=config["vocab_size"],
            end_ids=tuple(ends) if isinstance(ends, list) else (ends,),
        )


@dataclass
class KeyValueCache:
    """Keys and values of the tokens seen so far, per layer: (kv_heads, tokens, head_width)."""

    keys: list[Float32] = field(default_factory=list)
    values: list[Float32] = field(default_factory=list)
    length: int = 0


def load_weights(folder: Path) -> dict[str, Float32]:
    """All weights of a model directory as float32, packed ones dequantized."""
    tensors = checkpoint.read_all(folder)
    weights: dict[str, Float32] = {}
    for name, tensor in tensors.items():
        if name.endswith(".weight_packed"):
            module = name.removesuffix(".weight_packed")
            weights[f"{module}.weight"] = _unpack(module, tensors)
        elif tensor.dtype in ("BF16", "F16", "F32") and not name.endswith(".weight_scale"):
            weights[name] = to_float32(tensor.data, tensor.dtype)
    return weights


def _unpack(module: str, tensors: dict[str, Tensor]) -> Float32:
    parts = [tensors.get(f"{module}.{part}") for part in ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape")]
    packed, scale, zero_point, shape = parts
    if packed is None or scale is None or zero_point is None or shape is None:
        raise JobFailure("DamagedModel", f"{module} lacks one of its packed parameters", "Run quantize again.")
    if not int4_packing.fits(packed, scale, zero_point, shape):
        raise JobFailure("DamagedModel", f"the packed parameters of {module} do not fit together", "Run quantize again.")
    return int4_packing.dequantize(packed, scale, zero_point, shape)


def _rms_norm(values: Float32, weight: Float32, epsilon: float) -> Float32:
    mean_square = np.mean(values * values, axis=-1, keepdims=True, dtype=np.float32)
    return np.asarray(values / np.sqrt(mean_square + np.float32(epsilon)) * weight, dtype=np.float32)


def softmax(logits: Float32) -> Float32:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def _silu(values: Float32) -> Float32:
    # The bound keeps exp from overflowing; beyond it the quotient is 0 in float32 anyway.
    return np.asarray(values / (1 + np.exp(-np.maximum(values, np.float32(-80)))), dtype=np.float32)


class Decoder:
    """The network with its weights in memory."""

    def __init__(self, config: DecoderConfig, weights: dict[str, Float32]) -> None:
        self.config = config
        self.weights = weights
        half = config.head_width // 2
        frequencies = config.rope_theta ** (-np.arange(half, dtype=np.float64) / half)
        angles = np.arange(config.max_positions, dtype=np.float64)[:, None] * frequencies
        self._cos = np.cos(angles).astype(np.float32)
        self._sin = np.sin(angles).astype(np.float32)
        self._head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])

    @staticmethod
    def load(folder: Path) -> Decoder:
        """Reads config.json and all weights of a model directory."""
        return Decoder(DecoderConfig.from_json(checkpoint.read_object(folder / "config.json")), load_weights(folder))

    def with_weights(self, changed: dict[str, Float32]) -> Decoder:
        """The same network with some weights replaced; the others are shared, not copied."""
        return Decoder(self.config, self.weights | changed)

    def forward(self, ids: list[int], cache: KeyValueCache | None = None) -> tuple[Float32, list[Float32]]:
        """Runs `ids` after what `cache` holds.

        Returns the logits of the last token (vocabulary,) and the residual stream of the last token (hidden,) after the
        embedding and after each layer. Positions continue the cache, which is extended.
        """
        config, weights = self.config, self.weights
        cache = cache if cache is not None else KeyValueCache()
        past, count = cache.length, len(ids)
        if past + count > config.max_positions:
            raise ValueError(f"{past + count} tokens exceed the {config.max_positions} positions of the model")
        hidden = weights["model.embed_tokens.weight"][np.asarray(ids)]
        residuals = [hidden[-1]]
        mask = np.triu(np.full((count, past + count), -np.inf, dtype=np.float32), k=past + 1)
        for layer in range(config.layers):
            prefix = f"model.layers.{layer}."
            normed = _rms_norm(hidden, weights[prefix + "input_layernorm.weight"], config.norm_epsilon)
            hidden = hidden + self._attention(prefix, layer, normed, cache, mask)
            normed = _rms_norm(hidden, weights[prefix + "post_attention_layernorm.weight"], config.norm_epsilon)
            gate = _silu(normed @ weights[prefix + "mlp.gate_proj.weight"].T)
            up = normed @ weights[prefix + "mlp.up_proj.weight"].T
            hidden = hidden + (gate * up) @ weights[prefix + "mlp.down_proj.weight"].T
            residuals.append(hidden[-1])
        cache.length = past + count
        last = _rms_norm(hidden[-1], weights["model.norm.weight"], config.norm_epsilon)
        return np.asarray(self._head @ last, dtype=np.float32), residuals

    def _attention(self, prefix: str, layer: int, normed: Float32, cache: KeyValueCache, mask: Float32) -> Float32:
        config, weights = self.config, self.weights
        attention = prefix + "self_attn."
        query = self._heads(normed @ weights[attention + "q_proj.weight"].T, config.heads)
        key = self._heads(normed @ weights[attention + "k_proj.weight"].T, config.kv_heads)
        value = self._heads(normed @ weights[attention + "v_proj.weight"].T, config.kv_heads)
        query = self._rotate(_rms_norm(query, weights[attention + "q_norm.weight"], config.norm_epsilon), cache.length)
        key = self._rotate(_rms_norm(key, weights[attention + "k_norm.weight"], config.norm_epsilon), cache.length)
        if len(cache.keys) > layer:
            key = np.concatenate([cache.keys[layer], key], axis=1)
            value = np.concatenate([cache.values[layer], value], axis=1)
            cache.keys[layer], cache.values[layer] = key, value
        else:
            cache.keys.append(key)
            cache.values.append(value)
        group = config.heads // config.kv_heads
        # (kv_heads, group, tokens, width): query heads that share a key head lie side by side.
        grouped = query.reshape(config.kv_heads, group, query.shape[1], config.head_width)
        scores = grouped @ key[:, None].transpose(0, 1, 3, 2) * np.float32(config.head_width**-0.5) + mask
        mixed = softmax(scores) @ value[:, None]
        flat = mixed.reshape(config.heads, -1, config.head_width).transpose(1, 0, 2).reshape(normed.shape[0], -1)
        return np.asarray(flat @ weights[attention + "o_proj.weight"].T, dtype=np.float32)

    def _heads(self, values: Float32, count: int) -> Float32:
        """(tokens, count * width) to (count, tokens, width)."""
        return values.reshape(values.shape[0], count, self.config.head_width).transpose(1, 0, 2)

    def _rotate(self, values: Float32, start: int) -> Float32:
        """Rotary position embedding, first half against second half of each head."""
        stop = start + values.shape[1]
        cos, sin = self._cos[start:stop], self._sin[start:stop]
        half = self.config.head_width // 2
        first, second = values[..., :half], values[..., half:]
        rotated = np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
        return np.asarray(rotated, dtype=np.float32)


def kl_divergence(reference: Float32, other: Float32) -> float:
    """KL(reference || other) in nats between the softmax distributions of two logit vectors, in float64."""

    def log_softmax(logits: Float32) -> NDArray[np.float64]:
        wide = logits.astype(np.float64)
        wide = wide - wide.max()
        return np.asarray(wide - np.log(np.exp(wide).sum()), dtype=np.float64)

    p, q = log_softmax(reference), log_softmax(other)
    return max(0.0, float(np.sum(np.exp(p) * (p - q))))
