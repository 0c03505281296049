"""Packing: every chat once, no row too long, little left empty, and the same whenever it is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tasks.instruction.packing import alone, pack


@given(st.lists(st.integers(1, 40), max_size=120), st.integers(0, 5))
def test_every_chat_is_in_one_row_that_holds_it(lengths, seed):
    rows = pack(lengths, 40, seed)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[place] for place in row) <= 40 for row in rows)
    assert rows == pack(lengths, 40, seed)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=120))
def test_best_fit_decreasing_keeps_its_bound(lengths):
    """11/9 of the fewest rows possible, and one (Johnson 1973); the sum is a lower bound of those."""
    rows = pack(lengths, 40, 0)
    half_full = sum(sum(lengths[place] for place in row) <= 20 for row in rows)
    assert half_full <= 1, "two rows that are half full would have been one"


def test_the_seed_draws_among_chats_of_one_length():
    lengths = [10] * 30
    assert pack(lengths, 40, 1) != pack(lengths, 40, 2)
    assert len(pack(lengths, 40, 1)) == len(pack(lengths, 40, 2)) == 8


def test_alone_gives_each_chat_a_row():
    assert alone([3, 1, 2], 3) == [[0], [1], [2]]


@pytest.mark.parametrize("way", [lambda lengths: pack(lengths, 4, 0), lambda lengths: alone(lengths, 4)])
def test_a_chat_that_fits_into_no_row_is_refused(way):
    with pytest.raises(ValueError, match="a length of 5 in rows of 4"):
        way([1, 5])
