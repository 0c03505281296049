"""Borders of packed documents: what is refused, what lies outside them, positions within."""

import pytest
import torch

import kernels
from kernels.attention.packing import with_ranges
from tests.kernels.attention.cases import offsets

BAD = {
    "beyond the tokens": ([0, 5, 9], "at most the 8 tokens, not 0, 5, 9"),
    "falling": ([0, 5, 3, 8], "must rise from 0 or more"),
    "negative": ([-1, 8], "must rise from 0 or more"),
    "long": ([*range(20)], "not 0, 1, 2, 3, ..., 17, 18, 19"),
    "none": ([0], "at least one document"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_borders_are_named(name):
    borders, message = BAD[name]
    with pytest.raises(ValueError, match=f"cu_seqlens.*{message}"):
        kernels.pack(torch.tensor(borders, dtype=torch.int32), 2, 4)
    with pytest.raises(ValueError, match="must be int32"):
        kernels.pack(torch.tensor([0, 8]), 2, 4)


def test_positions_count_from_the_start_of_each_document():
    assert kernels.positions(offsets((2, 0, 3)), 1, 5).tolist() == [[0, 1, 0, 1, 2]]
    starts = torch.tensor([2, 3, 6], dtype=torch.int32)
    assert kernels.positions(starts, 2, 4).tolist() == [[0, 1, 0, 0], [1, 2, 3, 4]]


def test_intervals_stay_within_the_tokens():
    """On a GPU nobody looks at the borders first, and kernels read wherever an interval points."""
    for borders in ([-7, 3, 1 << 30], [5, 2, 90], [9, 9, 9]):
        starts = torch.tensor(borders, dtype=torch.int32)
        packing = with_ranges(starts, starts.flip(0), 6, 8)
        assert packing.ranges_q[:2].min() >= 0
        assert packing.ranges_q[:2].max() <= 8
        assert packing.ranges_k[:2].min() >= 0
        assert packing.ranges_k[:2].max() <= 6


def test_tokens_outside_all_documents_have_an_empty_interval():
    starts = torch.tensor([2, 3, 6], dtype=torch.int32)
    start, end, offset = with_ranges(starts, starts, 8, 8).ranges_q.tolist()
    assert start == [2, 2, 2, 3, 3, 3, 6, 6]
    assert end == [2, 2, 3, 6, 6, 6, 6, 6]
    assert offset == [0] * 8
