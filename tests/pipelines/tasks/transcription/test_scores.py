"""Edit distance and error rates against cases that can be counted, and against jiwer where it is installed."""

import numpy as np
import pytest

from pipelines.tasks.transcription.scores import commonest, edits, scores


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("", "", 0), ("a", "", 1), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("abc", "abc", 0),
        ("abcdef", "azced", 3), ("intention", "execution", 5),
    ],
)  # fmt: skip
def test_edits(one: str, other: str, wanted: int) -> None:
    assert edits(one, other) == edits(other, one) == wanted


def test_error_rates_are_of_all_texts_together() -> None:
    found = scores(["one two", "four", ""], ["one two three", "five", "six"])
    assert found["wer"] == pytest.approx((1 + 1 + 1) / 5)
    assert found["cer"] == pytest.approx((6 + 3 + 3) / (13 + 4 + 3))
    assert found["wrong"] == 1.0
    assert scores([], []) == {"wer": 0.0, "cer": 0.0, "wrong": 0.0}


def test_as_jiwer_counts() -> None:
    jiwer = pytest.importorskip("jiwer")
    dice, words = np.random.default_rng(0), ["one", "two", "three", "four"]
    wanted = [" ".join(dice.choice(words, dice.integers(1, 6))) for _ in range(50)]
    given = [" ".join(dice.choice(words, dice.integers(1, 6))) for _ in range(50)]
    found = scores(given, wanted)
    assert found["wer"] == pytest.approx(jiwer.wer(wanted, given))
    assert found["cer"] == pytest.approx(jiwer.cer(wanted, given))


def test_the_floor_is_the_best_text_for_all() -> None:
    texts = ["one two", "one two", "one three", "four"]
    assert commonest(texts) == "one two"
