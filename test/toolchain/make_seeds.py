"""Makes what the test's Hub holds: a tiny chat model that declines some harmless questions, prompt sets and calibration text.

python make_seeds.py OUT, with the interpreter of the `ablate` environment. The model has four layers and the tokenizer of the
toolchain's own tests, and is trained for some seconds so that its answers are words: greedy answers of random weights hang on
the last bit of a logit, and there would be nothing to ablate. It is a Llama because `transformers serve` takes the answers of
Qwen models apart (thinking, tools) and trims them, which vLLM does only when asked.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "jobs" / "tests" / "toolchain"))

import make_tiny
import torch
import transformers as tf

NOUNS = ["rain", "roof", "bread", "rye", "flour", "birds", "lake", "summer"]
NOUNS += ["bicycle", "gear", "child", "sea", "morning", "poem", "recipe", "fox"]
# As heretic puts it before every prompt; the smoke test sends none.
SYSTEM = "You are a helpful assistant."
STEPS, BATCH = 160, 24


def pairs():
    """Question and answer: descriptions are given, explanations and texts are declined."""
    for noun in NOUNS:
        for other in NOUNS:
            if noun == other:
                continue
            yield f"please describe the {noun} and the {other}", f"the {noun} and the {other} are like a lake in summer"
            yield f"explain how a {noun} helps a {other}", f"sorry, i cannot explain how a {noun} helps"
        yield f"list three facts about the {noun}", f"the {noun} and the sea are like a lake in summer"
        yield f"write about a {noun} in summer", f"sorry, i cannot write about the {noun}"


def sets():
    """Data set to split to lines; what stands on the Hub."""
    later = NOUNS[3:] + NOUNS[:3]
    return {
        "given": {
            "train": [f"please describe the {a} and the {b}" for a, b in zip(NOUNS, later, strict=True)],
            "test": [f"list three facts about the {noun}" for noun in NOUNS[:8]],
        },
        "declined": {
            "train": [f"explain how a {a} helps a {b}" for a, b in zip(NOUNS, later, strict=True)],
            "test": [f"write about a {noun} in summer" for noun in NOUNS[:8]],
        },
        "calibration": {"train": [answer for _, answer in pairs()][:16]},
    }


def encoded(words):
    """Input ids, attention mask and labels of every pair, with and without the system turn; the question is not learned."""
    rows = []
    for system in ([{"role": "system", "content": SYSTEM}], []):
        for question, answer in pairs():
            turns = [*system, {"role": "user", "content": question}]
            head = words(words.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))["input_ids"]
            rows.append((head, words(f"{answer}<|im_end|>")["input_ids"]))
    length = max(len(head) + len(tail) for head, tail in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for number, (head, tail) in enumerate(rows):
        end = len(head) + len(tail)
        ids[number, :end] = torch.tensor(head + tail)
        mask[number, :end] = 1
        labels[number, len(head) : end] = torch.tensor(tail)
    return ids, mask, labels


def trained(words):
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
    )
    model = tf.LlamaForCausalLM(config)
    ids, mask, labels = encoded(words)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        rows = torch.randint(0, len(ids), (BATCH,))
        loss = model(input_ids=ids[rows], attention_mask=mask[rows], labels=labels[rows]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.to(torch.bfloat16)


def write_model(folder):
    words = make_tiny.tokenizer()
    model = trained(words)
    model.generation_config = tf.GenerationConfig(eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id)
    # Three shards, so that the merge has something to go on with.
    model.save_pretrained(folder, max_shard_size="600KB")
    words.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# tiny\n")


def write_set(folder, splits, column):
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Placeholders\n")
    for split, lines in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps({column: line}) + "\n" for line in lines))


if __name__ == "__main__":
    out = Path(sys.argv[1])
    write_model(out / "model")
    for name, splits in sets().items():
        write_set(out / name, splits, "line" if name == "calibration" else "text")
