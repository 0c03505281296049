"""A line up to the checkpoint in two seconds: text with years, a real BPE tokenizer, a small trained decoder."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from base.files import read_json, write_json
from data.text.shards import Shards, ShardWriter, write_index
from data.text.tokenizer import TokenizerConfig, train
from models.decoder.config import DecoderConfig
from models.decoder.huggingface import save_pretrained
from models.decoder.model import Decoder
from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe

torch.set_num_threads(1)  # small products, and other tests run beside

SUBJECTS = ("the president", "the congress", "a senator", "the treasury", "our navy", "the people", "every farmer")
VERBS = ("asks for", "receives", "reports", "is thankful for", "rejects", "has seen", "pays for", "remembers")
OBJECTS = ("peace", "new treaties", "the tariff", "gold", "good harvests", "the railroads", "schools", "bread", "laws")
CONTEXT = 32


def text(generator: np.random.Generator, sentences: int) -> str:
    """Sentences out of a small grammar: predictable, but not by one word before alone."""
    made = [" ".join(str(generator.choice(part)) for part in (SUBJECTS, VERBS, OBJECTS)) for _ in range(sentences)]
    return ". ".join(made) + "."


def prepare(folder: Path) -> None:
    """Prepared data: 120 documents in three splits, each with a year and a decade."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    splits = {
        split: [
            (f"{split}-{n}", text(generator, int(generator.integers(3, 12))), 1900 + 7 * n % 30) for n in range(count)
        ]
        for split, count in (("train", 90), ("valid", 10), ("test", 20))
    }
    tokenizer = train((words for _, words, _ in splits["train"]), TokenizerConfig(vocabulary=320))
    tokenizer.inner.save(str(folder / "tokenizer.json"))
    entries = {}
    for split, documents in splits.items():
        with ShardWriter(folder, split, vocab_size=tokenizer.vocab_size, eos=0, shard_tokens=997) as writer:
            for name, words, year in documents:
                tokens = np.array(tokenizer.encode(words), dtype=np.uint16)
                meta = {"year": year, "decade": year // 10 * 10}
                writer.add(name, tokens, bytes_=len(words.encode()), meta=meta)
        entries[split] = writer.entry
    write_index(folder, entries, vocab_size=tokenizer.vocab_size, eos=0)


def checkpoint(paths: Paths, steps: int = 80, **shape: Any) -> Decoder:
    """A checkpoint of a two-layer decoder, trained for some steps; 0: random weights."""
    data = Shards(paths.prepared, "train")
    values: dict[str, Any] = {"context": CONTEXT, "layers": 2, "heads": 4, "kv_heads": 2, "width": 64, "qk_norm": True}
    config = DecoderConfig.model_validate({**values, **shape, "vocab_size": data.vocab_size})
    model = Decoder(config, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    draw = np.random.default_rng(0)
    for _ in range(steps):
        starts = draw.integers(0, data.total_tokens - CONTEXT - 1, 16)
        batch = torch.from_numpy(np.stack([data.tokens_at(int(start), CONTEXT + 1) for start in starts]))
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_pretrained(model.eval(), paths.checkpoint, tokenizer=paths.prepared / "tokenizer.json", eos=0)
    write_json(
        paths.checkpoint / "training.json",
        {
            "step": steps,
            "tokens": steps * 16 * CONTEXT,
            "parameters": model.parameter_count,
            "data_hash": data.data_hash,
        },
    )
    return model


def recipe(**sections: Any) -> Recipe:
    """The recipe `mini`, with other sections where given."""
    return Recipe.of(
        {
            "name": "mini",
            "description": "sentences about a congress",
            "licence": "made up for tests",
            "source": {"kind": "file", "path": "nowhere.txt", "sha256": "0" * 64},
            "evaluate": {"group_by": "decade", "sample_tokens": 12, "reference_tokens": 16},
            "export": {"lengths": (1, 7, 20), "int8_tokens": 512},
            **sections,
        }
    )


def copy(paths: Paths, root: Path) -> Paths:
    """The same line in another folder."""
    shutil.copytree(paths.root, root)
    return Paths(paths.recipe, root)


def change(path: Path, **values: Any) -> None:
    """Set top-level values of a JSON file."""
    write_json(path, {**read_json(path), **values})
