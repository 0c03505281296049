"""A vocabulary's bytes, and stop strings: none is missed, wherever token borders are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import MetrolineError
from serving.engines.decode.text import CONTROL, StopStrings, Vocabulary, show
from tests.serving import tiny_bundle


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer = tiny_bundle.byte_tokenizer()
    tokenizer.save(str(path))
    return Vocabulary(path, tokenizer.get_vocab_size())


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    path = tmp_path_factory.mktemp("characters") / "tokenizer.json"
    tokenizer = tiny_bundle.character_tokenizer("abc é\n")
    tokenizer.save(str(path))
    return Vocabulary(path, tokenizer.get_vocab_size())


@given(
    st.text(alphabet="ab\n", max_size=30),
    st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=4),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_stop_strings_cut_at_the_first_wherever_borders_are(text, stops, data):
    matcher, shown, stopped, rest = StopStrings(tuple(stops)), "", False, text
    while rest and not stopped:
        size = data.draw(st.integers(1, len(rest)))
        piece, stopped = matcher.push(rest[:size])
        shown, rest = shown + piece, rest[size:]
    if not stopped:
        shown += matcher.flush()
    # Pieces may end inside the text that follows a stop string; what is shown never does.
    cuts = [text.find(stop) for stop in stops if stop in text]
    assert stopped == bool(cuts)
    if not cuts:
        assert shown == text
    else:
        assert text.startswith(shown)
        assert not any(stop in shown for stop in stops)


def test_only_what_may_begin_a_stop_string_is_held_back():
    matcher = StopStrings(("\n\n",))
    assert matcher.push("line\n") == ("line", False)
    assert matcher.push("next") == ("\nnext", False)
    assert matcher.push("\n") == ("", False)
    assert matcher.push("\nlost") == ("", True)


def test_special_token_spelt_out_is_ordinary_text(vocabulary):
    assert 0 not in vocabulary.encode("<|endoftext|>")
    assert vocabulary.bytes[0] == b""


def test_character_tokenizer(characters):
    tokens = characters.encode("a é☃b☃")
    assert characters.unknown_characters("a é☃b☃", tokens) == "☃"
    assert characters.unknown_characters("abc", characters.encode("abc")) == ""
    assert b"".join(characters.bytes[token] for token in characters.encode("a é\nc")).decode() == "a é\nc"


def test_tokens_are_shown_as_openai_does(vocabulary):
    assert [show(vocabulary.bytes[token]) for token in vocabulary.encode(" the é")] == [
        " the",
        " ",
        "bytes:\\xc3",
        "bytes:\\xa9",
    ]


def test_control_characters_but_not_white_space():
    assert [c for c in map(chr, range(256)) if CONTROL.match(c)] == [
        c
        for c in map(chr, range(256))
        if c in map(chr, [*range(9), *range(14, 32), *range(127, 133), *range(134, 160)])
    ]
    assert not CONTROL.search("a\tb\r\nc\v\f\x85")


def test_bad_tokenizers(tmp_path, vocabulary):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MetrolineError, match="not a tokenizer"):
        Vocabulary(tmp_path / "tokenizer.json", 10)
    tiny_bundle.byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(MetrolineError, match="do not fit"):
        Vocabulary(tmp_path / "tokenizer.json", 10)
