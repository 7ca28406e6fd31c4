"""Loads models, checks that their numbers are finite, and lets them answer. Runs in the `quant` environment.

Request: `base`, `merged`, `release` (folders or null), `sameAsMerged`, `prompts`, `klPrompts`, `maxTokens`, `bytes` (16-bit
bytes of the model), `memoryFreeBytes` (host), `device`. One model is in memory at a time.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from toolchains.gpu.children.wire import ChildFailure, Json, Parent, serve

# Left for activations, key-value cache and the CUDA context.
_USABLE_SHARE = 0.9


@dataclass(frozen=True)
class Room:
    """What fits where; bytes."""

    gpu: int
    host: int
    device: str

    def place(self, needed: int) -> Any | None:
        """A `device_map` for a model of this size; None when it fits nowhere."""
        if self.device == "cpu":
            return {"": "cpu"} if needed < self.host * _USABLE_SHARE else None
        if needed < self.gpu * _USABLE_SHARE:
            return "auto"
        # Layers that do not fit are held in host memory: slow, but a few short answers are worth it.
        return "auto" if needed < (self.gpu + self.host) * _USABLE_SHARE else None

    def whole_on_device(self, needed: int) -> bool:
        free = self.host if self.device == "cpu" else self.gpu
        return needed < free * _USABLE_SHARE


def work(request: Json, parent: Parent) -> Json:
    """Answers of base and release, first-token KL(merged || release), and what was left out with the reason."""
    parent.progress("import", 0, 1, "steps")
    import torch

    torch.set_grad_enabled(False)
    room = _room(request)
    needed, skipped = int(request["bytes"]), {}
    session = _Session(torch, room, parent, request["maxTokens"])
    result: Json = {"answers": [], "before": [], "kl": None, "versions": _versions()}
    if room.place(needed) is None:
        reason = f"{needed} bytes fit neither the GPU ({room.gpu} free) nor host memory ({room.host} free)"
        return {**result, "skipped": {"answers": reason, "kl": reason, "before": reason}}
    compare = not request["sameAsMerged"]
    if compare and not room.whole_on_device(needed):
        skipped["kl"] = f"the 16-bit model of {needed} bytes does not fit on the device"
        compare = False
    if request["base"] is None:
        skipped["before"] = "the base is no longer on the pod"
    elif not room.whole_on_device(needed):
        skipped["before"] = f"the base of {needed} bytes does not fit on the device"
    else:
        with session.opened("base", request["base"], needed) as base:
            result["before"] = [base.answer(prompt) for prompt in base.counted(request["prompts"])]
    reference: list[Any] = []
    if compare:
        with session.opened("merged", request["merged"], needed) as merged:
            reference = [merged.first_token(prompt) for prompt in merged.counted(request["klPrompts"])]
    with session.opened("release", request["release"], needed) as release:
        values = []
        for number, prompt in enumerate(release.counted(request["klPrompts"])):
            logits = release.first_token(prompt)
            if compare:
                values.append(_kl(torch, reference[number], logits))
        result["answers"] = [release.answer(prompt) for prompt in release.counted(request["prompts"])]
    result["kl"] = sum(values) / len(values) if values else (0.0 if request["sameAsMerged"] else None)
    return {**result, "skipped": skipped}


class _Model:
    """One loaded model."""

    def __init__(self, torch: Any, parent: Parent, name: str, tokenizer: Any, model: Any, max_tokens: int) -> None:
        self._torch, self._parent, self._name = torch, parent, name
        self._tokenizer, self._model, self._max_tokens = tokenizer, model, max_tokens

    def counted(self, prompts: list[str]) -> Any:
        """The prompts one after another, each reported when it is done."""
        for number, prompt in enumerate(prompts, start=1):
            yield prompt
            self._parent.progress(self._name, number, len(prompts), "prompts")

    def first_token(self, prompt: str) -> Any:
        """Logits of the first answer token, on the CPU. Raises `NonFiniteLogits`."""
        logits = self._model(**self._inputs(prompt)).logits[0].float().cpu()
        if not self._torch.isfinite(logits).all():
            raise ChildFailure(
                "NonFiniteLogits", f"the {self._name} gives numbers that are not finite", "Merge and quantize again."
            )
        return logits[-1]

    def answer(self, prompt: str) -> str:
        """The greedy answer, without special tokens."""
        inputs = self._inputs(prompt)
        # The model's own generation settings would sample, or punish repetition: servers asked for greedy do neither.
        made = self._model.generate(**inputs, generation_config=self._greedy())
        text: str = self._tokenizer.decode(made[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return text

    def _inputs(self, prompt: str) -> Any:
        turn = [{"role": "user", "content": prompt}]
        encoded = self._tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_tensors="pt", return_dict=True, enable_thinking=False
        )
        return encoded.to(self._model.device)

    def _greedy(self) -> Any:
        from transformers import GenerationConfig

        own = self._model.generation_config
        pad = own.pad_token_id if own.pad_token_id is not None else self._tokenizer.pad_token_id
        return GenerationConfig(
            do_sample=False,
            max_new_tokens=self._max_tokens,
            eos_token_id=own.eos_token_id,
            pad_token_id=pad if pad is not None else self._tokenizer.eos_token_id,
        )


class _Session:
    """Opens one model after another."""

    def __init__(self, torch: Any, room: Room, parent: Parent, max_tokens: int) -> None:
        self._torch, self._room, self._parent, self._max_tokens = torch, room, parent, max_tokens
        self._model: Any = None

    def opened(self, name: str, folder: str, needed: int) -> _Session:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

        self._parent.progress(f"load {name}", 0, 1, "models")
        vision = hasattr(AutoConfig.from_pretrained(folder), "vision_config")
        kind = AutoModelForImageTextToText if vision else AutoModelForCausalLM
        model, info = kind.from_pretrained(folder, dtype="auto", device_map=self._room.place(needed), output_loading_info=True)
        if missing := sorted(info["missing_keys"]):
            raise ChildFailure("DamagedModel", f"the {name} has no tensor {missing[0]}", "Merge and quantize again.")
        model.eval()
        self._parent.progress(f"load {name}", 1, 1, "models")
        self._model = _Model(self._torch, self._parent, name, AutoTokenizer.from_pretrained(folder), model, self._max_tokens)
        return self

    def __enter__(self) -> _Model:
        assert isinstance(self._model, _Model)
        return self._model

    def __exit__(self, *_: object) -> None:
        self._model = None
        gc.collect()
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()


def _room(request: Json) -> Room:
    import torch

    if request["device"] == "cpu":
        return Room(0, request["memoryFreeBytes"], "cpu")
    if not torch.cuda.is_available():
        raise ChildFailure("NoGpu", "torch sees no GPU in the quant environment", "Use another pod.")
    free = sum(torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count()))
    return Room(free, request["memoryFreeBytes"], "cuda")


def _kl(torch: Any, reference: Any, other: Any) -> float:
    p, q = torch.log_softmax(reference, -1), torch.log_softmax(other, -1)
    return float((p.exp() * (p - q)).sum())


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("transformers", "torch", "compressed-tensors")}


if __name__ == "__main__":
    serve(work)
