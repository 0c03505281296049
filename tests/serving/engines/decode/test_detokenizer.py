"""Tokens into text: no character cut, and the pieces add up to the library's text of the whole, for every decoder."""

import functools
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from base.errors import MetrolineError
from data.text.spelling import ALPHABET
from serving.engines.decode.detokenizer import Detokenizer
from serving.engines.decode.text import Vocabulary, show
from tests.decoders import BYTES, KINDS, REFUSED, WORDS, tokenizer
from tests.serving import tiny_bundle

PADDING = 3
"""The model's vocabulary may be larger than the tokenizer's."""


def load(inner: Tokenizer) -> Vocabulary:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        inner.save(str(path))
        return Vocabulary(path, inner.get_vocab_size() + PADDING)


@functools.cache
def of_kind(kind: str) -> tuple[Tokenizer, Vocabulary]:
    inner = tokenizer(*KINDS[kind])
    return inner, load(inner)


@functools.cache
def of_bytes() -> Vocabulary:
    return load(tiny_bundle.byte_tokenizer())


def write(vocabulary: Vocabulary, tokens: list[int], prompt: list[int] | None = None, **options: bool) -> str:
    """The text as a stream has it; the bytes reported on the way are those of the text."""
    text = Detokenizer(vocabulary, prompt or [], **options)
    pieces = [text.push(token) for token in tokens]
    shown = "".join(piece for _, piece in pieces) + text.flush()
    assert shown == b"".join(raw for raw, _ in pieces).decode(errors="replace") or vocabulary.spelling.last
    return shown


def whole(inner: Tokenizer, tokens: list[int]) -> str:
    return str(inner.decode(tokens, skip_special_tokens=True))


@functools.cache
def chunks(kind: str, *, half: bool) -> st.SearchStrategy[list[int]]:
    """Lists of tokens; characters that are spelled in bytes are whole, unless `half` ones may come too."""
    inner, vocabulary = of_kind(kind)
    by_bytes = "ByteLevel" in kind
    names = [inner.id_to_token(index) for index in range(len(vocabulary.bytes))]
    single = [
        [index]
        for index, raw in enumerate(vocabulary.bytes)
        if not (by_bytes and names[index] in WORDS)  # the library takes them for bytes
        if half or not show(raw).startswith("bytes:")
    ]
    stand_ins = {byte: name for name, byte in ALPHABET.items()} if by_bytes else dict(enumerate(BYTES))
    spelled = [[inner.token_to_id(stand_ins[byte]) for byte in c.encode()] for c in "a ▁é日😀"]
    known = [each for each in spelled if None not in each]
    chunk = st.sampled_from(single[:20]) | st.sampled_from(single) | st.sampled_from(known or single)
    return st.lists(chunk, max_size=8).map(lambda found: [token for each in found for token in each])


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60)
def test_pieces_add_up_to_the_librarys_text_of_the_whole(kind, data):
    inner, vocabulary = of_kind(kind)
    tokens = data.draw(chunks(kind, half="ByteLevel" in kind))
    assert write(vocabulary, tokens) == whole(inner, tokens)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_text_goes_on_from_its_prompt(kind, data):
    inner, vocabulary = of_kind(kind)
    prompt, tokens = (data.draw(chunks(kind, half=False)) for _ in range(2))
    before, both = whole(inner, prompt), whole(inner, prompt + tokens)
    if both.startswith(before):  # not so where a suffix of BPEDecoder is in the midst of the prompt's last token
        assert before + write(vocabulary, tokens, prompt) == both
    middle = b"".join(vocabulary.bytes[token] for token in tokens)
    assert write(vocabulary, tokens, prompt, exact=True) == middle.decode()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "<0x00>" in KINDS[kind][0]])
@given(raw=st.binary(min_size=1, max_size=12))
@settings(max_examples=60)
def test_any_byte_tokens_give_what_python_decodes_at_once(kind, raw):
    """Not what the library gives: it drops a whole run for a wrong byte, and a stream has shown the rest by then."""
    inner, vocabulary = of_kind(kind)
    tokens = [inner.token_to_id(name) for name in ["s", *(BYTES[byte] for byte in raw), "s"]]
    assert write(vocabulary, tokens) == f"s{raw.decode(errors='replace')}s"


@pytest.mark.parametrize("kind", KINDS)
def test_added_words_are_never_read_as_bytes(kind):
    inner, vocabulary = of_kind(kind)
    for word in WORDS:
        token = inner.token_to_id(word)
        assert write(vocabulary, [token]) == word
        assert vocabulary.bytes[token].decode().strip() == word


def test_an_added_word_that_is_a_byte_of_the_vocabulary_stays_that_byte():
    inner = tokenizer(*KINDS["ByteLevel"])
    inner.add_tokens(["é"])
    vocabulary = load(inner)
    assert vocabulary.bytes[inner.token_to_id("é")] == b"\xe9"


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_written_token_by_token_is_refused(reason):
    decoder, said = REFUSED[reason]
    with pytest.raises(MetrolineError, match=said) as caught:
        load(tokenizer(["a"], decoder))
    assert "tokenizer.json: its decoder has" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_special_and_padding_tokens_write_nothing_and_unknown_ones_a_sign():
    vocabulary = load(tiny_bundle.character_tokenizer("ab"))
    assert write(vocabulary, [0, 2, 1, 3, len(vocabulary.bytes) - 1]) == "a\ufffdb"


@given(st.text())
@settings(max_examples=100)
def test_text_survives_tokens(text):
    vocabulary = of_bytes()
    detokenizer = Detokenizer(vocabulary)
    pieces = [detokenizer.push(token)[1] for token in vocabulary.encode(text)]
    assert "".join(pieces) + detokenizer.flush() == unicodedata.normalize("NFC", text)
    assert all("\ufffd" not in piece or "\ufffd" in text for piece in pieces)


@given(st.binary(max_size=40))
def test_any_bytes_give_what_python_decodes_at_once(raw):
    vocabulary = of_bytes()
    assert write(vocabulary, [vocabulary.bytes.index(bytes([byte])) for byte in raw]) == raw.decode(errors="replace")


def test_a_character_of_four_bytes_comes_whole():
    vocabulary = of_bytes()
    detokenizer = Detokenizer(vocabulary)
    tokens = [vocabulary.bytes.index(bytes([byte])) for byte in "😀".encode()]
    assert [detokenizer.push(token)[1] for token in tokens] == ["", "", "", "😀"]
