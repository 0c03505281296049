"""Bigram counts and xz, checked by hand, by sums of probabilities, and in chunks."""

import lzma
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.text.shards import Shards, ShardWriter, write_index
from pipelines.paths import Paths
from pipelines.tasks.language_modelling import baselines


def shards(folder: Path, documents: dict[str, list[list[int]]], vocab: int = 5) -> dict[str, Shards]:
    folder.mkdir(exist_ok=True)
    entries = {}
    for split, rows in documents.items():
        with ShardWriter(folder, split, vocab_size=vocab, eos=0) as writer:
            for number, row in enumerate(rows):
                writer.add(str(number), np.array(row, dtype=np.uint16), bytes_=2 * len(row), meta={})
        entries[split] = writer.entry
    write_index(folder, entries, vocab_size=vocab, eos=0)
    return {split: Shards(folder, split) for split in documents}


def test_bigram_bits_by_hand(tmp_path: Path) -> None:
    parts = shards(tmp_path, {"train": [[1, 2, 1, 2]], "test": [[1, 3]]})
    # train: 0→1, 1→2, 2→1, 1→2, 2→0; single counts 0:1, 1:2, 2:2 of 5, plus one each over 5 tokens
    unigram = {0: 2 / 10, 1: 3 / 10, 3: 1 / 10}
    alpha = 2.0
    wanted = [
        (1 + alpha * unigram[1]) / (1 + alpha),  # 0→1, seen once of once
        (0 + alpha * unigram[3]) / (2 + alpha),  # 1→3, never of two
        (0 + alpha * unigram[0]) / (0 + alpha),  # 3→0, 3 never seen
    ]
    got = baselines.Bigram(parts["train"]).bits(parts["test"], alpha)
    assert got == pytest.approx(-sum(math.log2(p) for p in wanted))


@given(st.lists(st.lists(st.integers(1, 4), max_size=8), min_size=1, max_size=5), st.sampled_from(baselines.ALPHAS))
def test_probabilities_after_any_token_sum_to_one(rows: list[list[int]], alpha: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        model = baselines.Bigram(shards(Path(folder), {"train": rows})["train"])
        unigram = (model.single + 1) / (model.single.sum() + model.vocab)
        for before in range(model.vocab):
            counts = np.zeros(model.vocab)
            inside = model.pairs // model.vocab == before
            counts[model.pairs[inside] % model.vocab] = model.counts[inside]
            total = ((counts + alpha * unigram) / (model.context[before] + alpha)).sum()
            assert total == pytest.approx(1.0)


def test_chunks_do_not_change_the_result(trained: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Shards(trained.prepared, split) for split in ("train", "valid", "test")]
    whole = baselines.bigram_bits_per_byte(*parts)
    monkeypatch.setattr(baselines, "CHUNK", 101)
    assert baselines.bigram_bits_per_byte(*parts) == pytest.approx(whole, rel=1e-12)


def test_alpha_is_chosen_on_the_validation_split_not_on_test(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    train = [generator.integers(1, 5, 400).tolist()]
    like_train, other = train, [[1, 1, 2, 2, 3, 3, 4, 4] * 20]
    parts = shards(tmp_path, {"train": train, "valid": like_train, "test": other})
    model = baselines.Bigram(parts["train"])
    best = {
        split: min(baselines.ALPHAS, key=lambda alpha: model.bits(parts[split], alpha)) for split in ("valid", "test")
    }
    assert best["valid"] != best["test"]
    got = baselines.bigram_bits_per_byte(parts["train"], parts["valid"], parts["test"])
    assert got == pytest.approx(model.bits(parts["test"], best["valid"]) / parts["test"].bytes)


def test_without_validation_documents_there_is_a_default(tmp_path: Path) -> None:
    parts = shards(tmp_path, {"train": [[1, 2, 3]], "valid": [], "test": [[1, 2]]})
    assert baselines.bigram_bits_per_byte(parts["train"], parts["valid"], parts["test"]) > 0


def test_xz_is_xz_9e(trained: Paths) -> None:
    texts = ["the people of the united states " * 20, "çà et là", ""]
    joined = b"".join(text.encode() + b"\0" for text in texts)
    size = sum(len(text.encode()) for text in texts)
    wanted = 8 * len(lzma.compress(joined, preset=9 | lzma.PRESET_EXTREME)) / size
    assert baselines.xz_bits_per_byte(texts, size) == wanted
