"""Loads models, checks that their numbers are finite, and lets them answer. Runs in the `quant` environment.

Request: `base`, `merged`, `release` (folders or null), `sameAsMerged`, `prompts`, `klPrompts`, `maxTokens`, `bytes` (16-bit
bytes of the model), `thinking` (whether the template may open a thought), `memoryFreeBytes` (host), `device`. One model is
in memory at a time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from toolchains.gpu.children.wire import ChildFailure, Json, Parent, serve

_T = TypeVar("_T")
# Left for activations, key-value cache and the CUDA context.
_USABLE_SHARE = 0.9
# Host memory has only the model in it. The plan rents for more than this (domain/model-memory.ts).
_USABLE_HOST_SHARE = 0.95
# Enough to see whether the numbers are finite, where there is nothing to compare them with.
_PROMPTS_UNCOMPARED = 4


@dataclass(frozen=True)
class Room:
    """What fits where; bytes."""

    gpu: int
    host: int
    device: str

    def place(self, needed: int, *, packed: bool) -> Any | None:
        """A `device_map` for a model of this size; None when it fits nowhere."""
        if self.device == "cpu" or (packed and not self.whole_on_device(needed)):
            # Packed weights are placed by their packed size and unpacked where they lie: a GPU would overflow.
            return {"": "cpu"} if needed < self.host * _USABLE_HOST_SHARE else None
        # Layers that do not fit are held in host memory: slow, but a few short answers are worth it.
        return "auto" if needed < self.gpu * _USABLE_SHARE + self.host * _USABLE_HOST_SHARE else None

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
    session = _Session(torch, parent, request["maxTokens"], request["thinking"])
    result: Json = {"answers": [], "before": [], "kl": None, "versions": _versions()}
    packed = not request["sameAsMerged"]
    place = room.place(needed, packed=packed)
    if place is None:
        reason = f"{needed} bytes fit neither the GPU ({room.gpu} free) nor host memory ({room.host} free)"
        return {**result, "skipped": {"answers": reason, "kl": reason, "before": reason}}
    compare = packed
    if compare and not room.whole_on_device(needed):
        skipped["kl"] = f"the 16-bit model of {needed} bytes does not fit on the device"
        compare = False
    if request["base"] is None:
        skipped["before"] = "the base is no longer on the pod"
    elif not room.whole_on_device(needed):
        skipped["before"] = f"the base of {needed} bytes does not fit on the device"
    else:
        whole = room.place(needed, packed=False)
        result["before"] = session.asked("base", request["base"], whole, lambda base: base.answers(request["prompts"]))
    reference: list[Any] = []
    if compare:
        whole = room.place(needed, packed=False)
        reference = session.asked("merged", request["merged"], whole, lambda merged: merged.first_tokens(request["klPrompts"]))

    asked = request["klPrompts"] if compare else request["klPrompts"][:_PROMPTS_UNCOMPARED]

    def all_of(release: _Model) -> tuple[list[Any], list[str]]:
        return release.first_tokens(asked), release.answers(request["prompts"])

    logits, result["answers"] = session.asked("release", request["release"], place, all_of)
    values = [_kl(torch, before, after) for before, after in zip(reference, logits, strict=True)] if compare else []
    result["kl"] = sum(values) / len(values) if values else (0.0 if request["sameAsMerged"] else None)
    return {**result, "skipped": skipped}


class _Model:
    """One loaded model."""

    def __init__(self, session: _Session, name: str, tokenizer: Any, model: Any) -> None:
        self._session, self._name, self._tokenizer, self._model = session, name, tokenizer, model

    def first_tokens(self, prompts: list[str]) -> list[Any]:
        """Per prompt the logits of the first answer token, on the CPU. Raises `NonFiniteLogits`."""
        return self._each(prompts, self._first_token)

    def answers(self, prompts: list[str]) -> list[str]:
        """Per prompt the greedy answer, without special tokens."""
        return self._each(prompts, self._answer)

    def _each(self, prompts: list[str], question: Callable[[str], _T]) -> list[_T]:
        found = []
        for number, prompt in enumerate(prompts, start=1):
            found.append(question(prompt))
            self._session.parent.progress(self._name, number, len(prompts), "prompts")
        return found

    def _first_token(self, prompt: str) -> Any:
        logits = self._model(**self._inputs(prompt)).logits[0].float().cpu()
        if not self._session.torch.isfinite(logits).all():
            raise ChildFailure(
                "NonFiniteLogits", f"the {self._name} gives numbers that are not finite", "Merge and quantize again."
            )
        # A view would keep the logits of the whole prompt.
        return logits[-1].clone()

    def _answer(self, prompt: str) -> str:
        inputs = self._inputs(prompt)
        # The model's own generation settings would sample, or punish repetition: servers asked for greedy do neither.
        made = self._model.generate(**inputs, generation_config=self._greedy())
        text: str = self._tokenizer.decode(made[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return text

    def _inputs(self, prompt: str) -> Any:
        turn = [{"role": "user", "content": prompt}]
        # As the endpoint's template is told: without a word where the model may think.
        switches = {} if self._session.thinking else {"enable_thinking": False}
        encoded = self._tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_tensors="pt", return_dict=True, **switches
        )
        return encoded.to(self._model.device)

    def _greedy(self) -> Any:
        from transformers import GenerationConfig

        own = self._model.generation_config
        pad = own.pad_token_id if own.pad_token_id is not None else self._tokenizer.pad_token_id
        return GenerationConfig(
            do_sample=False,
            max_new_tokens=self._session.max_tokens,
            eos_token_id=own.eos_token_id,
            pad_token_id=pad if pad is not None else self._tokenizer.eos_token_id,
        )


@dataclass(frozen=True)
class _Session:
    """Opens one model after another."""

    torch: Any
    parent: Parent
    max_tokens: int
    thinking: bool

    def asked(self, name: str, folder: str, place: Any, questions: Callable[[_Model], _T]) -> _T:
        """What `questions` gets from one model, of which nothing is left in memory afterwards."""
        found = questions(self._open(name, folder, place))
        gc.collect()
        if self.torch.cuda.is_available():
            self.torch.cuda.empty_cache()
        return found

    def _open(self, name: str, folder: str, place: Any) -> _Model:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

        self.parent.progress(f"load {name}", 0, 1, "models")
        vision = hasattr(AutoConfig.from_pretrained(folder), "vision_config")
        kind = AutoModelForImageTextToText if vision else AutoModelForCausalLM
        model, info = kind.from_pretrained(folder, dtype="auto", device_map=place, output_loading_info=True)
        if missing := sorted(info["missing_keys"]):
            raise ChildFailure("DamagedModel", f"the {name} has no tensor {missing[0]}", "Merge and quantize again.")
        model.eval()
        self.parent.progress(f"load {name}", 1, 1, "models")
        return _Model(self, name, AutoTokenizer.from_pretrained(folder), model)


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
