"""Small GGUF files, written with the `gguf` package as llama.cpp's converter writes them."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

from data.text.tokenizer import END_OF_TEXT, Tokenizer, TokenizerConfig, train

TEXTS = [
    "Hello world, hello again.  Two spaces\n\nand 2,048 lines\r\n\tof code: f(x) = x**2",
    "Grüße aus Köln, naïve café — “quotes”… ½ Ⅷ ²",
    "Привет, мир! 42 · Γειά σου Κόσμε",
    "日本語のテキスト、2024年。 한국어 텍스트. 中文文本",
    "مرحبا بالعالم ١٢٣ · שלום עולם · नमस्ते दुनिया १२ · สวัสดี",
    "🤖🎉 👩‍👩‍👧 e\u0301\u00a0\u3000\u200b\ufeff\0",
    "<|im_start|>user\nhi<|im_end|><|endoftext|> it's we'll I'D   7  77 777 7777",
]
"""Every tokenizer test's texts: scripts, digits, spaces, control characters, text that spells out special tokens."""
SPECIAL = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}"


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges of a small byte-level BPE; the first three are `SPECIAL`."""
    import json

    made: Tokenizer = train(TEXTS * 4, TokenizerConfig(vocabulary=400))
    model = json.loads(made.inner.to_str())["model"]
    ordinary = [token for token, _ in sorted(model["vocab"].items(), key=lambda item: item[1]) if token != END_OF_TEXT]
    return SPECIAL + ordinary, [" ".join(merge) for merge in model["merges"]]


def add_tokenizer(writer: gguf.GGUFWriter, pre: str = "smollm", template: str | None = TEMPLATE) -> None:
    tokens, merges = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    if template is not None:
        writer.add_chat_template(template)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tokenizer(path: Path, **options: Any) -> Path:
    """A file with a tokenizer and no tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    add_tokenizer(writer, **options)
    finish(writer)
    return path


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k in llama.cpp's order, as its converter defines it: row (head, half, i) goes to (head, i, half)."""
    out = np.empty_like(weight)
    size = len(weight) // heads
    for row in range(len(weight)):
        head, inside = divmod(row, size)
        half, i = divmod(inside, size // 2)
        out[head * size + 2 * i + half] = weight[row]
    return out


def write_llama(path: Path, model: Any, kind: Kind = Kind.F32, changes: dict[str, Any] | None = None) -> Path:
    """A decoder of ours as a Llama GGUF file. `changes`: metadata to add, tensors to replace (None: leave out)."""
    config, changes = model.config, changes or {}
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(changes.get("layers", config.layers))
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_rope_dimension_count(changes.get("rope", config.head_dim))
    writer.add_rope_freq_base(config.rope_theta)
    if "eps" not in changes:
        writer.add_layer_norm_rms_eps(config.norm_eps)
    if "experts" in changes:
        writer.add_expert_count(changes["experts"])
    add_tokenizer(writer)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "layers.": "blk.",
        "embed_tokens": "token_embd",
        "lm_head": "output",
    }
    tensors = {}
    for name, tensor in model.named_parameters():
        values = tensor.detach().numpy()
        if "q_proj" in name or "k_proj" in name:
            values = permuted(values, config.heads if "q_proj" in name else config.kv_heads)
        name = "output_norm.weight" if name == "norm.weight" else name
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        tensors[name] = values
    for name, values in (tensors | changes.get("tensors", {})).items():
        if values is None:
            continue
        if kind is Kind.F32 or values.ndim == 1:
            writer.add_tensor(name, np.ascontiguousarray(values))
        else:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    finish(writer)
    return path
