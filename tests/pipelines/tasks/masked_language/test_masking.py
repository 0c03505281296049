"""Which tokens are hidden: as many as asked for, whole words, by the generator alone; and how documents are cut."""

from pathlib import Path

import numpy as np
import pytest

from data.text.shards import Shards, ShardWriter, write_index
from data.text.tokenizer import Tokenizer, TokenizerConfig, train
from pipelines.tasks.masked_language.masking import Masking
from pipelines.tasks.masked_language.windows import Windows

TEXTS = ["the people of the united states and their government were united"] * 3
TOKENIZER = train(TEXTS, TokenizerConfig(kind="wordpiece", vocabulary=258, min_frequency=100))  # letters alone
LONG = np.array(TOKENIZER.encode(TEXTS[0] * 30))


def hidden(rate: float, seed: int = 0, *, whole_words: bool = False, tokenizer: Tokenizer = TOKENIZER):
    return Masking(tokenizer, rate, whole_words=whole_words).hide(LONG, np.random.default_rng(seed))


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_as_many_as_asked_for_in_three_ways(rate: float) -> None:
    shown, places = hidden(rate)
    assert len(places) == round(rate * len(LONG))
    assert (np.diff(places) > 0).all()
    untouched = np.ones(len(LONG), bool)
    untouched[places] = False
    np.testing.assert_array_equal(shown[untouched], LONG[untouched])
    masks, same = (shown[places] == 4).mean(), (shown[places] == LONG[places]).mean()
    assert masks == pytest.approx(0.8, abs=0.06)
    assert same == pytest.approx(0.1 + 0.1 / 253, abs=0.06)
    assert shown[places].min() >= 4  # no other token is [PAD], [UNK], [CLS] or [SEP]


def test_masks_are_the_generators_alone() -> None:
    one, again, other = hidden(0.15, 1), hidden(0.15, 1), hidden(0.15, 2)
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[1], other[1])


def test_whole_words_are_hidden_or_none_of_their_pieces() -> None:
    masking = Masking(TOKENIZER, 0.3, whole_words=True)
    _, places = masking.hide(LONG, np.random.default_rng(3))
    word = np.cumsum(~masking.inside[LONG])
    chosen = set(word[places].tolist())
    assert len(places) == sum(int((word == each).sum()) for each in chosen)
    assert 0.25 * len(LONG) < len(places) <= 0.3 * len(LONG)
    alone, only = masking.hide(np.array(TOKENIZER.encode("government")), np.random.default_rng(0))
    assert len(only) == len(alone) == 10  # one word is more than the rate, and something must be hidden


def test_special_tokens_are_never_hidden() -> None:
    masking = Masking(TOKENIZER, 0.9, whole_words=False)
    tokens = np.array([1, 1, LONG[0], 1])
    for seed in range(5):
        assert masking.hide(tokens, np.random.default_rng(seed))[1].tolist() == [2]
    shown, places = masking.hide(np.array([1, 1]), np.random.default_rng(0))
    assert (shown.tolist(), places.tolist()) == ([1, 1], [])


def shards(folder: Path, *lengths: int) -> Shards:
    """Documents of these lengths, [CLS] before each and [SEP] behind; tokens count from 5 up."""
    with ShardWriter(folder, "train", vocab_size=1000, eos=3) as writer:
        at = 5
        for number, length in enumerate(lengths):
            writer.add(str(number), np.array([2, *range(at, at + length)]), bytes_=1, meta={})
            at += length
    write_index(folder, {"train": writer.entry}, vocab_size=1000, eos=3, first=(2,))
    return Shards(folder, "train")


def test_windows_are_the_split_without_frames_each_of_one_document(tmp_path: Path) -> None:
    windows = Windows(shards(tmp_path, 25, 3, 10, 11), 10)
    rows = [windows.tokens(number).tolist() for number in range(len(windows))]
    assert [len(row) for row in rows] == [10, 10, 5, 3, 10, 10, 1]
    assert [token for row in rows for token in row] == list(range(5, 54))


def test_shifted_windows_are_full_and_stay_in_their_document(tmp_path: Path) -> None:
    windows = Windows(shards(tmp_path, 25, 3), 10)
    rows = [windows.shifted(number, 4).tolist() for number in range(len(windows))]
    assert rows == [list(range(9, 19)), list(range(19, 29)), list(range(20, 30)), [30, 31, 32]]
    assert [windows.shifted(number, 0)[0] for number in range(4)] == [5, 15, 20, 30]
