"""Duplicates: exactly one of each stays, the first; near ones are held against the exact Jaccard index."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.text.dedup import DedupConfig, Duplicates, signature

WORDS = [f"word{number}" for number in range(5000)]


def kept(texts: list[str], **config: object) -> dict[int, tuple[str, str] | None]:
    settings_ = DedupConfig.model_validate(config)
    duplicates = Duplicates(settings_)
    return {
        number: duplicates.check(str(number), text, signature(text, settings_) if settings_.near else None)
        for number, text in enumerate(texts)
    }


def page(seed: int, words: int = 400) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def jaccard(one: list[str], two: list[str], length: int = 5) -> float:
    sets = [{tuple(words[at : at + length]) for at in range(len(words) - length + 1)} for words in (one, two)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@given(st.lists(st.sampled_from(["a", "b", "c", "d e", ""]), max_size=20))
def test_exact_keeps_the_first_of_each(texts):
    found = kept(texts, near=False)
    stayed = [texts[number] for number, repeated in found.items() if repeated is None]
    assert stayed == list(dict.fromkeys(texts))
    for number, repeated in found.items():
        if repeated:
            assert repeated == ("exact_duplicate", str(texts.index(texts[number])))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), max_size=12))
def test_near_keeps_exactly_one_of_each(seeds):
    texts = [" ".join(page(seed)) + " " + "!" * place for place, seed in enumerate(seeds)]  # all differ by punctuation
    found = kept(texts)
    assert [seeds[number] for number, repeated in found.items() if repeated is None] == list(dict.fromkeys(seeds))
    assert {repeated[0] for repeated in found.values() if repeated} <= {"near_duplicate"}


def test_a_changed_word_is_near_another_page_is_not():
    first = page(1)
    edited = [*first[:100], "other", *first[101:]]
    assert 0.9 < jaccard(first, edited) < 1
    found = kept([" ".join(first), " ".join(edited), " ".join(page(2))])
    assert found == {0: None, 1: ("near_duplicate", "0"), 2: None}


def test_case_and_punctuation_do_not_count():
    assert kept(["One, two; three four five six.", "one two three FOUR five SIX"])[1] == ("near_duplicate", "0")


def test_off():
    assert kept(["a b c d e f", "a b c d e f"], exact=False, near=False) == {0: None, 1: None}


def test_exact_off_leaves_equal_texts_to_near():
    assert kept(["a b c d e f", "a b c d e f"], exact=False)[1] == ("near_duplicate", "0")


def test_copy_of_a_dropped_document_names_the_kept_one():
    first = page(1)
    edited = " ".join([*first[:100], "other", *first[101:]])
    assert kept([" ".join(first), edited, edited]) == {0: None, 1: ("near_duplicate", "0"), 2: ("near_duplicate", "0")}


@pytest.mark.parametrize("text", ["", "!", "word", "日本語", "a b", "\n"])
def test_texts_shorter_than_a_shingle(text):
    assert kept([text, text + "x y z"])[1] is None
    assert kept([text, text], exact=False)[1] == ("near_duplicate", "0")


def test_estimate_is_near_the_jaccard_index():
    config = DedupConfig(permutations=512)
    first = page(3)
    for changed in (5, 20, 60):
        other = [word if place % (400 // changed) else "other" for place, word in enumerate(first)]
        estimate = np.mean(signature(" ".join(first), config) == signature(" ".join(other), config))
        assert estimate == pytest.approx(jaccard(first, other), abs=0.08)  # 3.5 standard errors of 512 draws


def test_recall_and_precision_around_the_threshold():
    rng = random.Random(0)
    above = below = missed = alarms = 0
    for seed in range(80):
        first = page(seed, 300)
        other = list(first)
        for place in rng.sample(range(300), rng.choice([1, 2, 3, 12, 20, 40])):
            other[place] = "other"
        alike = kept([" ".join(first), " ".join(other)])[1] is not None
        resemblance = jaccard(first, other)
        if resemblance > 0.88:
            above, missed = above + 1, missed + (not alike)
        elif resemblance < 0.70:
            below, alarms = below + 1, alarms + alike
    assert above > 30
    assert below > 30
    assert missed <= 1
    assert alarms <= 1


def test_long_text_is_sketched_in_pieces():
    text = " ".join(page(1, 20_000))
    whole = signature(text, DedupConfig())
    assert whole.shape == (128,)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.text.dedup.BATCH", 10**9)
        np.testing.assert_array_equal(whole, signature(text, DedupConfig()))


def test_signatures_are_the_same_on_every_machine():
    text = "the quick brown fox jumps over the lazy dog"
    assert signature(text, DedupConfig())[:4].tolist() == [636769633, 878584138, 31260960, 1602131152]


def test_near_without_signatures_is_a_bug():
    with pytest.raises(ValueError, match="need signatures"):
        Duplicates(DedupConfig()).check("a", "text", None)
