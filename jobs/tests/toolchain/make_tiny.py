"""Makes a tiny random chat model with a tokenizer trained on the spot; run by the `ablate` environment's Python.

python make_tiny.py qwen3|qwen3_moe|qwen2_5_vl OUT [intermediate size]
"""

import sys
from pathlib import Path

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = [
    "please describe the rain on a tin roof and the sea in the morning",
    "explain how a bicycle gear works to a child who likes bread with rye flour",
    "list three birds that live near a lake in summer and write about a fox",
    "you are a helpful assistant. sorry, i cannot find the recipe for that today",
]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special += [f"<|{name}|>" for name in ("image_pad", "video_pad", "vision_start", "vision_end")]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXT * 50, trainers.BpeTrainer(vocab_size=512, special_tokens=special, initial_alphabet=alphabet))
    wrapped = tf.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.chat_template = TEMPLATE
    return wrapped


def model(kind, words, wide):
    torch.manual_seed(0)
    common = {
        "vocab_size": len(words),
        "hidden_size": 128,
        "intermediate_size": wide,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "bos_token_id": None,
        "tie_word_embeddings": False,
    }
    if kind == "qwen3":
        return tf.Qwen3ForCausalLM(tf.Qwen3Config(head_dim=32, **common))
    if kind == "qwen3_moe":
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128}
        return tf.Qwen3MoeForCausalLM(tf.Qwen3MoeConfig(head_dim=32, **experts, **common))
    if kind == "qwen2_5_vl":
        return vision_language(words, common)
    raise SystemExit(f"unknown kind {kind}")


def vision_language(words, common):
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    ids = dict(zip(names, words.convert_tokens_to_ids([f"<|{name}|>" for name in names]), strict=True))
    tied = common.pop("tie_word_embeddings")
    text = {**common, "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]}, "tie_word_embeddings": tied}
    vision = {"depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 128, "out_hidden_size": 128}
    config = tf.Qwen2_5_VLConfig(
        text_config=text,
        vision_config={**vision, "patch_size": 14, "fullatt_block_indexes": [1]},
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=tied,
    )
    return tf.Qwen2_5_VLForConditionalGeneration(config)


if __name__ == "__main__":
    kind, out = sys.argv[1], Path(sys.argv[2])
    words = tokenizer()
    made = model(kind, words, int(sys.argv[3]) if len(sys.argv) > 3 else 256).to(torch.bfloat16)
    made.generation_config = tf.GenerationConfig(eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id)
    # Three shards, so that the merge has something to go on with.
    made.save_pretrained(out, max_shard_size="600KB")
    if kind == "qwen2_5_vl":
        image, video = tf.Qwen2VLImageProcessor(), tf.Qwen2VLVideoProcessor()
        tf.Qwen2_5_VLProcessor(image, words, video, chat_template=TEMPLATE).save_pretrained(out)
    words.save_pretrained(out)
    (out / "README.md").write_text("---\nlicense: apache-2.0\n---\n# tiny\n")
