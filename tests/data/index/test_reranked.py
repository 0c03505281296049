"""Pairs for a reranker: long texts in parts, of which the best counts."""

import pytest

from data.index.reranked import Pairs, ordered, parted
from data.index.store import Hit


def cut(text: str, most: int) -> str:
    return text[:most]


def test_a_long_text_is_read_in_parts_and_its_best_part_counts():
    pairs = Pairs("what is it?", ["short", "a longer one", "x"], cut, (4, 5))
    assert pairs.items == [("what", "short"), ("what", "a lon"), ("what", "ger o"), ("what", "ne"), ("what", "x")]
    assert pairs.best([0.1, 0.2, 0.9, 0.3, 0.5]) == [0.1, 0.9, 0.5]


@pytest.mark.parametrize("text", ["", " ", "a", "ab cd", "ab    cd", "     ab", "ab     "])
def test_parts_are_the_text_without_blank_ones(text):
    parts = parted(text, lambda rest: rest[:2])
    assert parts
    assert "".join(parts).split() == text.split() or "".join("".join(parts).split()) == "".join(text.split())
    assert all(part.strip() for part in parts) or len(parts) == 1


def test_a_head_that_is_empty_does_not_go_on_for_ever():
    assert parted("abc", lambda rest: "") == ["abc"]


def test_the_order_is_the_rerankers_and_equal_ones_stay():
    hits = [Hit(3, 0.9, 0.5), Hit(1, 0.8), Hit(2, 0.7)]
    assert ordered(hits, [0.2, 0.6, 0.2]) == [Hit(1, 0.6), Hit(3, 0.2, 0.5), Hit(2, 0.2)]
