"""CTC: collapsing by the blank, beam search against all paths, ties, the n-gram."""

import itertools
from math import exp, log

import numpy as np
import pytest

from data import ctc
from data.signature import TranscriptOutput


def output(blank: int = 0, **more: object) -> TranscriptOutput:
    letters = ["a", "b", " "]
    letters.insert(blank, "")
    return TranscriptOutput(name="t", shape=(-1, 4), alphabet=tuple(letters), blank=blank, step=0.02, **more)


def frames(path: str, blank: int = 0, sure: float = 0.97) -> np.ndarray:
    """Each frame says a letter, `-` the blank."""
    alphabet = output(blank).alphabet
    rows = np.full((len(path), 4), log((1 - sure) / 3))
    for at, letter in enumerate(path):
        rows[at, blank if letter == "-" else alphabet.index(letter)] = log(sure)
    return rows


@pytest.mark.parametrize("blank", [0, 1, 3])
@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize(
    ("path", "text"),
    [("aab", "ab"), ("a-ab", "aab"), ("--", ""), ("-a- -b-", "a b"), (" a  b ", "a b"), ("abab", "abab"), ("", "")],
)
def test_equal_frames_are_one_and_the_blank_parts_them(blank: int, beam: int, path: str, text: str) -> None:
    """Wherever the blank stands in the alphabet."""
    assert ctc.worded(output(blank, beam=beam), frames(path, blank).reshape(-1, 4))["text"] == text


def test_another_blank_reads_another_text() -> None:
    """The index is the signature's: the same frames under another one are another text."""
    rows = frames("a-ab", 0)
    assert ctc.worded(output(0), rows)["text"] == "aab"
    assert ctc.worded(output(1), rows)["text"] != "aab"


def test_words_and_their_times() -> None:
    answer = ctc.worded(output(), frames("--aa-b---ab"))
    assert answer["text"] == "abab"
    answer = ctc.worded(output(), frames("--aa-b- -ab"))
    assert answer["chunks"] == [
        {"text": "ab", "timestamp": [0.04, 0.12]},
        {"text": "ab", "timestamp": [0.18, 0.22]},
    ]


def every_text(declared: TranscriptOutput, rows: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of each text, over all paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(rows.shape[1]), repeat=len(rows)):
        text = tuple(key for key, _ in itertools.groupby(path) if key != declared.blank)
        found[text] = found.get(text, 0.0) + exp(sum(rows[at, symbol] for at, symbol in enumerate(path)))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_the_likeliest_text_of_all(seed: int) -> None:
    """And its probability is the sum of all its paths; a text may be likelier than its likeliest path."""
    dice = np.random.default_rng(seed)
    rows = np.log(dice.dirichlet(np.ones(4) * 0.8, 5).clip(1e-3))
    declared = output(int(seed % 4), beam=500)
    wanted = every_text(declared, rows)
    found = ctc.beam(declared, rows)
    best = max(wanted, key=lambda text: wanted[text])
    assert found.symbols == best
    assert exp(found.total) == pytest.approx(wanted[best], rel=1e-6)


def test_ties_do_not_depend_on_luck() -> None:
    """Of two readings that are equally likely the earlier letters win, in any width of the beam."""
    rows = np.log(np.full((1, 4), 0.25))
    rows[0] = [log(0.1), log(0.4), log(0.4), log(0.1)]
    for beam in (1, 2, 8):
        assert ctc.worded(output(beam=beam), rows)["text"] == "a"


def test_the_n_gram_tips_the_scale() -> None:
    """After `a` train has only `b`: where the sound leaves it open, `b` is read; without it the likelier `a`."""
    rows = frames("a-a", sure=0.9)
    rows[2] = [log(0.05), log(0.5), log(0.4), log(0.05)]
    grams = ctc.grams(["ab", "ab ab"], output().alphabet, 0, 2)
    assert ctc.worded(output(beam=4), rows)["text"] == "aa"
    assert ctc.worded(output(beam=4, grams=grams, weight=0.5), rows)["text"] == "ab"
    assert ctc.worded(output(beam=4, grams=grams, weight=0.0), rows)["text"] == "aa"


def test_an_n_gram_is_a_distribution_without_the_blank() -> None:
    grams = ctc.grams(["ab", "abb a"], output(3).alphabet, 3, 3)
    assert {"", "a", "b", "ab"} <= set(grams)
    assert max(map(len, grams)) == 2
    for row in grams.values():
        assert sum(exp(value) for value in row) == pytest.approx(1, abs=1e-3)
        assert row[3] == -99.0
    assert grams["ab"][1] > grams["ab"][0]


def test_a_long_silence_is_quick_and_empty() -> None:
    """10 minutes of frames."""
    rows = np.full((30_000, 4), -12.0)
    rows[:, 0] = 0.0
    assert ctc.worded(output(), rows) == {"text": "", "chunks": []}


def test_words_as_symbols() -> None:
    """A word with a space behind is one symbol; the n-gram is of words then."""
    alphabet = ["", *ctc.alphabet_of(["one two", "two"], words=True)]
    assert alphabet == ["", "one ", "two "]
    assert ctc.spell(alphabet, "two one") == [2, 1]
    with pytest.raises(KeyError):
        ctc.spell(alphabet, "three")
    grams = ctc.grams(["one two", "one two one"], alphabet, 0, 2)
    assert set(grams) == {"", "one ", "two "}
    declared = TranscriptOutput(name="t", shape=(-1, 3), alphabet=tuple(alphabet), blank=0, step=0.02, grams=grams,
                                weight=0.3)  # fmt: skip
    rows = np.log(np.array([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.2, 0.1, 0.7], [0.2, 0.1, 0.7]]))
    assert ctc.worded(declared, rows) == {
        "text": "one two",
        "chunks": [{"text": "one", "timestamp": [0.0, 0.02]}, {"text": "two", "timestamp": [0.04, 0.06]}],
    }
    assert ctc.alphabet_of(["ab a"], words=False) == [" ", "a", "b"]
    assert ctc.spell(["", " ", "a", "b"], "ab a") == [2, 3, 1, 2]
