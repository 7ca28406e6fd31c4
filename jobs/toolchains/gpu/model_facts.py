"""What a model's config.json says about what can be done with it; no weights needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GROUP_SIZES = (128, 64, 32)
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")


@dataclass(frozen=True)
class ModelFacts:
    """`widths`: input widths of the decoder's linear layers as far as the config tells them."""

    architectures: tuple[str, ...]
    model_type: str | None
    experts: int
    vision: bool
    own_code: bool
    quantized: bool
    layers: int | None
    widths: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "architectures": list(self.architectures),
            "modelType": self.model_type,
            "experts": self.experts,
            "vision": self.vision,
            "ownCode": self.own_code,
            "quantized": self.quantized,
            "layers": self.layers,
            "widths": list(self.widths),
        }


def facts_of(config: dict[str, Any]) -> ModelFacts:
    """Reads a config.json; the text part of a vision-language model counts as its decoder."""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    assert isinstance(text, dict)
    experts = max((value for name in _EXPERT_KEYS if isinstance(value := text.get(name), int)), default=0)
    heads, head_dim, hidden = text.get("num_attention_heads"), text.get("head_dim"), text.get("hidden_size")
    attention = heads * head_dim if isinstance(heads, int) and isinstance(head_dim, int) else None
    widths = {width for width in (hidden, text.get("intermediate_size"), attention) if isinstance(width, int)}
    layers = text.get("num_hidden_layers")
    return ModelFacts(
        architectures=tuple(config.get("architectures") or ()),
        model_type=config.get("model_type"),
        experts=experts,
        vision=isinstance(config.get("vision_config"), dict),
        own_code=bool(config.get("auto_map")),
        quantized=bool(config.get("quantization_config")),
        layers=layers if isinstance(layers, int) else None,
        widths=tuple(sorted(widths)),
    )


def fitting_group_size(widths: tuple[int, ...], wanted: int) -> int | None:
    """The largest of 128, 64, 32 that is not above `wanted` and divides every width; None when none does."""
    return next((size for size in GROUP_SIZES if size <= wanted and all(width % size == 0 for width in widths)), None)
