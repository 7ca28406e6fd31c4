"""AWQ by llm-compressor with a local calibration text. Runs in the `quant` environment.

Request: `model`, `out` (folders), `lines` (calibration text, one user turn per line), `samples`, `sequenceTokens`,
`groupSize`, `device`. Writes packed weights and the tools' config to `out`; tokenizer and template are the parent's.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from toolchains.gpu.children.wire import ChildFailure, Json, Parent, serve


def work(request: Json, parent: Parent) -> Json:
    """Loads, rescales, rounds and saves; returns figures for the record."""
    parent.progress("import", 0, 1, "steps")
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if request["device"] == "cpu":
        _without_pinned_memory()
    elif not torch.cuda.is_available():
        raise ChildFailure("NoGpu", "torch sees no GPU in the quant environment", "Use another pod.")
    parent.progress("load", 0, 1, "models")
    started = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    model = AutoModelForCausalLM.from_pretrained(request["model"], dtype="auto")
    loaded = time.monotonic()
    parent.progress("load", 1, 1, "models")
    rows = _rows(tokenizer, request["lines"], request["samples"], request["sequenceTokens"])
    recipe = [AWQModifier(duo_scaling="both"), _rounding(QuantizationModifier, request["groupSize"])]
    with _counting_layers(parent, model):
        oneshot(
            model=model,
            dataset=Dataset.from_list(rows),
            recipe=recipe,
            max_seq_length=request["sequenceTokens"],
            num_calibration_samples=len(rows),
        )
    rounded = time.monotonic()
    parent.progress("save", 0, 1, "models")
    model.save_pretrained(request["out"], save_compressed=True)
    parent.progress("save", 1, 1, "models")
    config = json.loads((Path(request["out"]) / "config.json").read_bytes()).get("quantization_config") or {}
    if (config.get("quant_method"), config.get("format")) != ("compressed-tensors", "pack-quantized"):
        raise ChildFailure(
            "UnsupportedModel",
            f"llm-compressor wrote the format {config.get('quant_method')}/{config.get('format')}",
            "Use `quantize: none`.",
        )
    return {
        "samples": len(rows),
        "tokens": sum(len(row["input_ids"]) for row in rows),
        "loadSeconds": round(loaded - started, 1),
        "roundSeconds": round(rounded - loaded, 1),
        "versions": {name: version(name) for name in ("llmcompressor", "compressed-tensors", "transformers", "torch")},
    }


def _rounding(modifier: Any, group_size: int) -> Any:
    if group_size == 128:
        return modifier(targets=["Linear"], scheme="W4A16_ASYM", ignore=["lm_head"])
    weights = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": group_size}
    return modifier(ignore=["lm_head"], config_groups={"group_0": {"targets": ["Linear"], "weights": weights}})


def _rows(tokenizer: Any, lines: list[str], samples: int, sequence_tokens: int) -> list[dict[str, Any]]:
    rows = []
    for line in lines[:samples]:
        turn = [{"role": "user", "content": line}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        encoded = tokenizer(text, truncation=True, max_length=sequence_tokens, add_special_tokens=False)
        rows.append(dict(encoded.items()))
    return rows


class _counting_layers:
    """Tells which decoder layer is worked on: the first calibration pass through each one is noticed by a hook."""

    def __init__(self, parent: Parent, model: Any) -> None:
        self._parent = parent
        inner = getattr(model, "model", model)
        self._layers = list(getattr(inner, "layers", []))
        self._handles: list[Any] = []
        self._reached = 0

    def __enter__(self) -> None:
        total = max(1, len(self._layers))
        self._parent.progress("quantize", 0, total, "layers")
        for number, layer in enumerate(self._layers):
            self._handles.append(layer.register_forward_pre_hook(self._hook(number, total)))

    def _hook(self, number: int, total: int) -> Any:
        def reached(*_: object) -> None:
            if number > self._reached:
                self._reached = number
                self._parent.progress("quantize", number, total, "layers")

        return reached

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._parent.progress("quantize", max(1, len(self._layers)), max(1, len(self._layers)), "layers")


def _without_pinned_memory() -> None:
    """For tests: llm-compressor 0.14.0.1 pins host memory unconditionally, which fails on a machine without a driver."""
    from llmcompressor.pipelines.cache import IntermediatesCache

    IntermediatesCache._pin_intermediate = classmethod(lambda _cls, _intermediate: None)


if __name__ == "__main__":
    serve(work)
