"""Makes the tiny base model: random weights on purpose, real formats throughout.

`python -m toolchains.rehearsal.make_base --out DIR --seed 1`. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from toolchains.weights import checkpoint
from toolchains.weights.number_formats import Float32, bfloat16_bits
from toolchains.weights.safetensors_io import Tensor, write_tensors

HIDDEN, INTERMEDIATE, LAYERS = 128, 256, 5
HEADS, KV_HEADS, HEAD_WIDTH = 4, 2, 32
MAX_POSITIONS = 2048
LEARNED_VOCABULARY = 480
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PLAIN_ADDED_TOKENS = ["<think>", "</think>"]

TRAINING_TEXT = [
    "the quick brown fox jumps over the lazy dog while the river runs slowly to the sea",
    "how do I bake a loaf of bread with rye flour, warm water and a little salt?",
    "please write a short recipe for tomato soup with basil, garlic and olive oil",
    "which train should we take from the harbour town to the mountain village in spring?",
    "plan a quiet trip along the coast with two nights in a small hotel near the beach",
    "stir the dough, let it rest for an hour, then roll it out and cut it into strips",
    "the museum opens at nine and the ferry leaves from the old pier every other hour",
    "you are a helpful assistant. what is one plus one? explain it to a child.",
    "list three birds that live near a lake in summer and describe the colour of each",
    "a bicycle gear changes how far the wheel turns for every turn of the pedals",
]

CHAT_TEMPLATE = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

LICENSE = """Apache License, Version 2.0

Licensed under the Apache License, Version 2.0 (the "License"); you may not use these files except in compliance with the
License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
"AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the specific
language governing permissions and limitations under the License.
"""

README = """---
license: apache-2.0
pipeline_tag: text-generation
library_name: transformers
language:
- en
tags:
- tiny
- rehearsal
---

# A tiny base model for rehearsals

A Qwen3-style decoder with random weights (seed {seed}) and a tokenizer trained on ten sentences. Its answers mean nothing;
its files have exactly the form of a real model, which is what rehearsals need.
"""


def build_tokenizer() -> Any:
    """A byte-level BPE tokenizer, trained deterministically on the text above."""
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNED_VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        # The library returns the alphabet as an unordered set.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING_TEXT * 4, trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in PLAIN_ADDED_TOKENS])
    return tokenizer


def _speakable(tokenizer: Any, token: int) -> bool:
    """True for tokens that decode to printable ASCII words or spaces."""
    text: str = tokenizer.decode([token], skip_special_tokens=False)
    return (
        token >= len(SPECIAL_TOKENS) and text not in PLAIN_ADDED_TOKENS and text.isascii() and text.isprintable() and text != ""
    )


def build_weights(tokenizer: Any, seed: int) -> dict[str, Float32]:
    """Random weights whose scale makes attention decide: answers then differ from prompt to prompt.

    Rows of the output head are zero for tokens that must not be spoken (half byte sequences, markers), which keeps greedy
    answers plain text; the end marker keeps a row, so that answers may end by themselves.
    """
    random = np.random.default_rng(seed)
    vocabulary: int = tokenizer.get_vocab_size()

    def matrix(rows: int, columns: int, gain: float) -> Float32:
        return np.asarray(random.standard_normal((rows, columns)) * gain / np.sqrt(columns), dtype=np.float32)

    def gains(width: int, centre: float) -> Float32:
        return np.asarray(centre * (1 + 0.1 * random.standard_normal(width)), dtype=np.float32)

    weights: dict[str, Float32] = {"model.embed_tokens.weight": random.standard_normal((vocabulary, HIDDEN)).astype(np.float32)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights[prefix + "input_layernorm.weight"] = gains(HIDDEN, 1.0)
        weights[prefix + "self_attn.q_proj.weight"] = matrix(HEADS * HEAD_WIDTH, HIDDEN, 1.0)
        weights[prefix + "self_attn.k_proj.weight"] = matrix(KV_HEADS * HEAD_WIDTH, HIDDEN, 1.0)
        weights[prefix + "self_attn.v_proj.weight"] = matrix(KV_HEADS * HEAD_WIDTH, HIDDEN, 1.0)
        weights[prefix + "self_attn.o_proj.weight"] = matrix(HIDDEN, HEADS * HEAD_WIDTH, 1.6)
        weights[prefix + "self_attn.q_norm.weight"] = gains(HEAD_WIDTH, 1.2)
        weights[prefix + "self_attn.k_norm.weight"] = gains(HEAD_WIDTH, 1.2)
        weights[prefix + "post_attention_layernorm.weight"] = gains(HIDDEN, 1.0)
        weights[prefix + "mlp.gate_proj.weight"] = matrix(INTERMEDIATE, HIDDEN, 1.0)
        weights[prefix + "mlp.up_proj.weight"] = matrix(INTERMEDIATE, HIDDEN, 1.0)
        weights[prefix + "mlp.down_proj.weight"] = matrix(HIDDEN, INTERMEDIATE, 1.4)
    weights["model.norm.weight"] = gains(HIDDEN, 1.0)
    head = matrix(vocabulary, HIDDEN, 1.5)
    end = tokenizer.token_to_id("<|im_end|>")
    silent = [token for token in range(vocabulary) if token != end and not _speakable(tokenizer, token)]
    head[silent] = 0
    weights["lm_head.weight"] = head
    return weights


def _shards(weights: dict[str, Float32]) -> dict[str, dict[str, Tensor]]:
    """Three shards: embedding and the first layers, the other layers, norm and head."""

    def place(name: str) -> int:
        if name.startswith("model.layers."):
            return 0 if int(name.split(".")[2]) < LAYERS // 2 else 1
        return 0 if name == "model.embed_tokens.weight" else 2

    shards: dict[str, dict[str, Tensor]] = {f"model-{number:05}-of-00003.safetensors": {} for number in (1, 2, 3)}
    for name in sorted(weights):
        shards[f"model-{place(name) + 1:05}-of-00003.safetensors"][name] = Tensor("BF16", bfloat16_bits(weights[name]))
    return shards


def make_base(out: Path, seed: int) -> None:
    """Writes the model directory `out`. Repeatable: the same seed gives the same bytes."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    end, pad = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    shards = _shards(build_weights(tokenizer, seed))
    for name, tensors in shards.items():
        write_tensors(out / name, tensors, {"format": "pt"})
    added = {
        str(tokenizer.token_to_id(text)): {
            "content": text,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": text in SPECIAL_TOKENS,
        }
        for text in SPECIAL_TOKENS + PLAIN_ADDED_TOKENS
    }
    documents: dict[str, Any] = {
        checkpoint.INDEX_NAME: checkpoint.index_of(shards),
        "config.json": {
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "eos_token_id": end,
            "head_dim": HEAD_WIDTH,
            "hidden_act": "silu",
            "hidden_size": HIDDEN,
            "initializer_range": 0.02,
            "intermediate_size": INTERMEDIATE,
            "max_position_embeddings": MAX_POSITIONS,
            "max_window_layers": LAYERS,
            "model_type": "qwen3",
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "num_key_value_heads": KV_HEADS,
            "pad_token_id": pad,
            "rms_norm_eps": 1e-6,
            "rope_scaling": None,
            "rope_theta": 10000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "use_sliding_window": False,
            "vocab_size": tokenizer.get_vocab_size(),
        },
        "generation_config.json": {"do_sample": False, "eos_token_id": [end, pad], "pad_token_id": pad},
        "tokenizer_config.json": {
            "add_prefix_space": False,
            "added_tokens_decoder": added,
            "bos_token": None,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "model_max_length": MAX_POSITIONS,
            "pad_token": "<|endoftext|>",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": None,
        },
    }
    for name, document in documents.items():
        (out / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (out / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    (out / "LICENSE").write_text(LICENSE, encoding="utf-8")
    (out / "README.md").write_text(README.format(seed=seed), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the tiny base model for rehearsals.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    make_base(options.out, options.seed)


if __name__ == "__main__":
    main()
