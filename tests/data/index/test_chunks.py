"""Chunks: every word in one at least, none too long, cut where the text has a cut; and their bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.index.chunks import chunks
from data.index.documents import Document
from data.index.passages import Passages, write


def words(text: str) -> int:
    return len(text.split())


def cut(text: str, length: int = 12, overlap: int = 4, markdown: bool = True) -> list[str]:
    document = Document("a.md", text, markdown)
    return [text[each.start : each.end] for each in chunks(document, words, length=length, overlap=overlap)]


def test_headings_begin_chunks_and_are_known():
    text = "Before.\n\n# One\n\nFirst words.\n\n## Two ##\n\nSecond.\n\n# Three\n\nThird.\n```\n# no heading\n```\n"
    found = chunks(Document("a.md", text, True), words, length=50, overlap=0)
    assert [each.heading for each in found] == ["", "One", "One › Two", "Three"]
    assert [text[each.start : each.end][:7] for each in found] == ["Before.", "# One\n\n", "## Two ", "# Three"]
    assert text[found[-1].start : found[-1].end].endswith("```")
    assert len(chunks(Document("a.txt", text, False), words, length=50, overlap=0)) == 1


def test_sentences_are_filled_up_and_repeated():
    text = "One two three four. Five six seven. Eight nine ten eleven. Twelve thirteen."
    assert cut(text) == [
        "One two three four. Five six seven. Eight nine ten eleven.",
        "Eight nine ten eleven. Twelve thirteen.",
    ]
    assert cut(text, overlap=0) == ["One two three four. Five six seven. Eight nine ten eleven.", "Twelve thirteen."]


def test_a_paragraph_that_ends_in_the_second_half_ends_the_chunk():
    text = "One two three four. Five six seven.\n\nEight nine. Ten eleven twelve thirteen fourteen."
    assert cut(text, overlap=0)[0] == "One two three four. Five six seven."
    text = "One two.\n\nThree four five six. Seven eight. Nine ten eleven. Twelve thirteen."
    assert cut(text, overlap=0)[0].endswith("eleven.")


def test_what_has_no_sentences_is_cut_between_words_and_letters():
    parts = cut(" ".join(["word"] * 100), overlap=0)
    assert max(map(words, parts)) <= 12
    assert sum(map(words, parts)) == 100
    long = "x" * 1000
    found = chunks(Document("a.txt", long, False), lambda text: len(text), length=100, overlap=0)
    assert "".join(long[each.start : each.end] for each in found) == long
    assert max(each.end - each.start for each in found) <= 100


@given(st.text("ab. \n#é`😀", max_size=300), st.integers(2, 20), st.booleans())
def test_nothing_is_lost_and_nothing_too_long(text, length, markdown):
    document = Document("a.md", text, markdown)
    found = chunks(document, len, length=length, overlap=length // 2)
    covered = [False] * len(text)
    for each in found:
        assert 0 <= each.start < each.end <= len(text)
        for place in range(each.start, each.end):
            covered[place] = True
        assert sum(len(part) for part in text[each.start : each.end].split()) <= length
    assert all(covered[place] or letter.isspace() for place, letter in enumerate(text))


@pytest.mark.parametrize("text", ["Ä – b. 😀 c.\n\n# D\n\ne", "plain. text."])
def test_ranges_are_bytes(tmp_path, text):
    document = Document("a.md", text, True)
    found = chunks(document, words, length=3, overlap=0)
    write(tmp_path, [(Document("b.txt", "first.", False), "0", []), (document, "1", found)])
    passages = Passages(tmp_path)
    assert len(passages) == len(found)
    for number, chunk in enumerate(found):
        passage = passages.passage(number)
        assert passage.text == text[chunk.start : chunk.end]
        assert text.encode()[passage.start : passage.end].decode() == passage.text
        assert passage.document == "a.md"
