"""A small BERT as fetched weights, with a WordPiece tokenizer that cuts and fills up by itself, and moody texts."""

import json
import random
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from base.files import sha256, write_json
from models.encoder.huggingface import save_pretrained
from models.encoder.network import Config, build
from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GOOD, BAD = ("good", "fine", "warm", "bright"), ("bad", "poor", "cold", "dull")
OTHERS = ("film", "day", "a", "the", "was", "and", "##s", "##ly")
VOCABULARY = {word: number for number, word in enumerate((*SPECIAL, *GOOD, *BAD, *OTHERS))}


def tokenizer(vocabulary: dict[str, int] | None = None) -> tokenizers.Tokenizer:
    """WordPiece as BERT's, saved with truncation and padding."""
    words = vocabulary or VOCABULARY
    inner = tokenizers.Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    ends = [("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])]
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    inner.add_special_tokens(list(SPECIAL))
    inner.enable_truncation(4)
    inner.enable_padding(length=4)
    return inner


def write_weights(files: Path, inner: tokenizers.Tokenizer | None = None) -> None:
    """The folder of a BERT: config.json, model.safetensors, tokenizer.json, tokenizer_config.json."""
    config = Config(layers=1, width=32, heads=2, context=24, types=2)
    save_pretrained(build(config, (24, len(VOCABULARY)), 2, torch.Generator().manual_seed(0)), files)
    (inner or tokenizer()).save(str(files / "tokenizer.json"))
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    write_json(files / "tokenizer_config.json", names | {"tokenizer_class": "BertTokenizer"})


def write_raw(raw: Path, count: int = 240) -> None:
    """Rows of text and label; the label is that of most of its telling words."""
    draw = random.Random(5)
    lines = []
    for _ in range(count):
        label, words = draw.choice("+-"), draw.choices(OTHERS[:6], k=draw.randrange(1, 8))
        words.insert(draw.randrange(len(words) + 1), draw.choice(GOOD if label == "+" else BAD))
        lines.append(json.dumps({"text": " ".join(words), "label": label}) + "\n")
    lines.append(json.dumps({"text": "good " * 40, "label": "+"}) + "\n")  # longer than data.length
    path = raw / "files/rows.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(lines))
    write_json(raw / "source.json", {"kind": "file", "files": {"rows.jsonl": {"sha256": sha256(path)}}})


def recipe(**changes: Any) -> Recipe:
    """A fine-tune of the small BERT."""
    values: dict[str, Any] = {
        "name": "moods",
        "description": "moods",
        "licence": "none",
        "source": {"kind": "file", "path": "moods", "sha256": "0" * 64},
        "pretrained": {"source": {"kind": "file", "path": "small-bert", "sha256": "0" * 64}},
        "data": {"kind": "text", "length": 16, "tokenizer": {"kind": "pretrained"}},
        "split": {"valid": 0.2, "test": 0.3, "duplicates": "keep"},
        "task": {"kind": "classification"},
        "model": {"kind": "encoder"},
        "train": {"steps": 60, "batch": 16, "lr": 0.003, "evaluate_every": 30, "device": "cpu", "precision": "fp32",
                  "compile": "off"},
        "export": {"batch_sizes": [1, 5], "lengths": [1, 7], "golden": 6, "int8_tolerance": 0.1},
    }  # fmt: skip
    return Recipe.of(values | changes)


def prepared(root: Path, made: Recipe) -> Paths:
    """Raw files and weights as fetched, and prepared."""
    from pipelines.recipe import kinds

    paths = Paths("moods", root)
    write_raw(paths.raw)
    write_weights(paths.pretrained / "files")
    kinds.task("classification")(made).prepare(paths.raw, paths.prepared, paths.pretrained / "files")
    return paths
