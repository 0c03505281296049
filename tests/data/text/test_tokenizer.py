"""Tokenizers: decoding undoes encoding, special tokens cannot be spelt out, training is deterministic."""

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from base.errors import MetrolineError
from data.text.tokenizer import END_OF_TEXT, EOS, LONGEST_WORD, UNKNOWN, Tokenizer, TokenizerConfig, save, train

TEXTS = [
    "It was the best of times, it was the worst of times.\n\n",
    "Call me Ishmael. Some years ago…\t'twas 1851.",
] * 4
BPE = train(TEXTS, TokenizerConfig(kind="bpe", vocabulary=400))
CHARACTERS = train(["abc \n\U0001f600é$"], TokenizerConfig(kind="char"))


@given(st.text())
def test_bpe_round_trip_of_any_text(text):
    assert BPE.decode(BPE.encode(text)) == text


@given(st.text("abc \n\U0001f600é$"))
def test_character_round_trip_of_seen_characters(text):
    tokens = CHARACTERS.encode(text)
    assert len(tokens) == len(text)
    assert CHARACTERS.decode(tokens) == text


@pytest.mark.parametrize(
    "text", [END_OF_TEXT, f"a{END_OF_TEXT}b", UNKNOWN, "  two  spaces ", "\r\n\0", "\ufeff", "e\u0301", "\ufffd"]
)
def test_bpe_round_trip_of_odd_text(text):
    tokens = BPE.encode(text)
    assert EOS not in tokens
    assert BPE.decode(tokens) == text


@given(st.lists(st.text(), max_size=5))
def test_batches_give_the_same_tokens(texts):
    assert BPE.encode_batch(texts) == [BPE.encode(text) for text in texts]


def test_unseen_characters_are_unknown_and_special_tokens_silent():
    assert CHARACTERS.encode("aXb") == [CHARACTERS.encode("a")[0], 1, CHARACTERS.encode("b")[0]]
    assert CHARACTERS.decode(CHARACTERS.encode("aXb")) == "ab"
    assert CHARACTERS.encode(END_OF_TEXT).count(EOS) == 0
    assert BPE.decode([EOS, *BPE.encode("x"), EOS]) == "x"


def test_ids():
    assert (BPE.eos, BPE.unknown, BPE.inner.token_to_id(END_OF_TEXT)) == (0, None, 0)
    assert (CHARACTERS.eos, CHARACTERS.unknown) == (0, 1)
    assert CHARACTERS.vocab_size == 2 + 8
    assert [CHARACTERS.spell(token) for token in range(4)] == [END_OF_TEXT, UNKNOWN, "\n", " "]
    assert 257 < BPE.vocab_size <= 400


def test_spelling_of_part_of_a_character():
    token = BPE.encode("\u20ac")[0]  # one byte of three
    assert BPE.decode([token]) == "\ufffd"
    assert "\ufffd" not in BPE.spell(token)


def test_bpe_learns_pairs():
    assert len(BPE.encode("times")) < 5


def test_a_word_without_end_costs_linear_time_and_comes_back():
    """Half a million letters without white space took more than a minute when they were one word of the training."""
    text = "".join(random.Random(1).choices("abcdefghij", k=500_000))
    started = time.process_time()
    tokenizer = train([text], TokenizerConfig(vocabulary=1000))
    tokens = tokenizer.encode(text)
    assert time.process_time() - started < 20
    assert len(tokens) < len(text) / 2
    assert tokenizer.decode(tokens) == text


def test_words_up_to_the_longest_are_learnt_as_if_there_were_none():
    """And the tokenizer that comes out holds no trace of the limit."""
    texts = ["ab" * (LONGEST_WORD // 2), " x" + "é" * (LONGEST_WORD // 2 - 1), "plain words here " * 9]
    plain = tokenizers.Tokenizer(tokenizers.models.BPE())
    plain.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    plain.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    plain.train_from_iterator(texts, trainer)
    assert train(texts, TokenizerConfig(vocabulary=300)).inner.to_str() == plain.to_str()


@pytest.mark.parametrize(
    ("decoded", "text", "lost"),
    [("abc", "abc", 0), ("ab", "abc", 1), (" abc", "abc", 0), ("abc", "Abc", 1), ("a b", "a  b", 1), ("", "aab", 3)],
)
def test_lost_characters_are_those_that_do_not_come_back(decoded, text, lost):
    assert BPE.lost(text, BPE.encode(decoded)) == lost


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_saving_and_loading_changes_nothing(tmp_path, kind):
    tokenizer = BPE if kind == "bpe" else CHARACTERS
    save(tokenizer, tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    for text in ("abc \n$", END_OF_TEXT, "\U0001f600"):
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(tokenizer.encode(text)) == tokenizer.decode(tokenizer.encode(text))
    save(loaded, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_equal_bytes_in_every_process_with_any_threads(tmp_path, kind):
    program = (
        "import sys; from pathlib import Path; from data.text.tokenizer import TokenizerConfig, save, train\n"
        "texts = (f'{a} speech number {a * b} of the {b}th session' for a in range(60) for b in range(60))\n"
        "save(train(texts, TokenizerConfig(kind=sys.argv[1], vocabulary=600)), Path(sys.argv[2]))"
    )
    digests = set()
    for threads in ("1", "4"):
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        path = tmp_path / f"{threads}.json"
        subprocess.run([sys.executable, "-c", program, kind, str(path)], env=environment, check=True)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        ("{", "not a tokenizer"),
        ("{}", "not a tokenizer"),
        (BPE.inner.to_str().replace(END_OF_TEXT, "<end>"), "no token that ends a document"),
    ],
)
def test_what_is_no_tokenizer(tmp_path: Path, content, message):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(MetrolineError, match=message):
        Tokenizer.load(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("values", [{"vocabulary": 257}, {"kind": "word"}, {"min_frequency": 0}, {"vocab": 300}])
def test_bad_settings(values):
    with pytest.raises(ValidationError):
        TokenizerConfig.model_validate(values)
