"""A tiny chat model as others publish one, a Hugging Face folder with a template, and rows to teach it."""

import json
from pathlib import Path

import torch

from base.files import sha256, write_json
from data.text.pretrained import Pretrained
from models.decoder.config import DecoderConfig
from models.decoder.huggingface import save_pretrained
from models.decoder.model import Decoder
from tests.serving import chat_bundle

TEMPLATE = chat_bundle.TEMPLATE
COLOURS = ("red", "green", "blue", "black", "white", "brown")
THINGS = ("hat", "door", "car", "bird", "stone", "ship", "lamp", "book", "road", "tree", "cup", "bag", "wall", "shoe")


def rows() -> list[dict[str, str]]:
    """Questions whose answers follow a rule."""
    return [{"instruction": f"Say {thing} in {colour}.", "input": "", "output": f"{colour} {thing}"}
            for thing in THINGS for colour in COLOURS]  # fmt: skip


def write_rows(path: Path, given: list[object]) -> Path:
    """A .jsonl file of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given), encoding="utf-8")
    return path


def fetched(folder: Path, *files: Path) -> Path:
    """The folder as `fetch` leaves it, with these files of its part `files`."""
    entries = {path.relative_to(folder / "files").as_posix(): {"sha256": sha256(path)} for path in files}
    write_json(folder / "source.json", {"files": entries})
    return folder


def model(folder: Path, *, template: str | None = TEMPLATE, eos: int = 258, context: int = 128) -> Path:
    """The weights' folder, below a fetched one: two layers, random, a token a byte and ChatML's borders."""
    config = DecoderConfig(vocab_size=259, context=context, layers=2, width=64, heads=2, kv_heads=1, hidden=128)
    files = folder / "files"
    network = Decoder(config, torch.Generator().manual_seed(0))
    files.mkdir(parents=True)
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    text = Pretrained(chat_bundle.tokenizer(), context, special, (eos,), template)
    (folder / "text").mkdir()
    save_pretrained(network, files, tokenizer=text.save(folder / "text"), eos=0)
    return fetched(folder, *sorted(files.iterdir()))
