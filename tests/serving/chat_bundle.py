"""A tiny chat model: ChatML with one token a byte, whose answers are a script that starts where the prompt ends."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.serving import tiny_bundle
from tests.serving.tiny_bundle import SCRIPT

TEMPLATE = """\
{% for message in messages %}\
{% if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}\
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
{% endfor %}\
{% if tools %}{{ '<|im_start|>tools\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def tokenizer() -> Tokenizer:
    """256 bytes, an end of text, and ChatML's two borders."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_start|>", "<|im_end|>"]
    tokens = ["<|endoftext|>", *alphabet, *special]
    made = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    made.add_special_tokens(["<|endoftext|>", *special])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def build(
    folder: Path, name: str = "talker", *, context: int = 256, max_tokens: int = 300, delay_nodes: int = 0,
    template: str = TEMPLATE, script: list[int] | None = None,
) -> Path:  # fmt: skip
    """Write the bundle to `folder`. `script`: the token at each position, instead of SCRIPT over and over."""
    script = tiny_bundle.bytes_of(SCRIPT, tokenizer()) if script is None else script
    tiny_bundle.build(folder, name=name, context=context, max_tokens=max_tokens, script=script, tokenizer=tokenizer(),
                      delay_nodes=delay_nodes)  # fmt: skip
    (folder / "chat_template.jinja").write_text(template)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "bos_token": None}))
    tiny_bundle.write_manifest(folder, name, json.loads((folder / "manifest.json").read_text())["model"])
    return folder


def said(prompt_tokens: int, count: int) -> str:
    """What the model answers to a prompt of so many tokens."""
    raw = SCRIPT.encode() * (2 + (prompt_tokens + count) // len(SCRIPT))
    return raw[prompt_tokens : prompt_tokens + count].decode(errors="replace")
