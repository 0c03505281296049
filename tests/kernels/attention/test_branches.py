"""Branches of documents: answers that share a prompt see it and themselves, not each other."""

import pytest
import torch

from kernels.attention.packing import pack


def test_a_token_sees_its_own_branch_and_what_all_share():
    #                      a prompt of 2, answers of 2 and 1 │ another document
    branches = torch.tensor([[0, 0, 1, 1, 2, 0, 1]])
    mask = pack(torch.tensor([0, 5, 7], dtype=torch.int32), 1, 7, branches).mask
    assert mask is not None
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]


def test_branches_are_refused_where_there_is_no_mask():
    with pytest.raises(ValueError, match="branches of documents are for CPUs alone, not for meta"):
        pack(torch.tensor([0, 7], dtype=torch.int32, device="meta"), 1, 7, torch.zeros(1, 7, dtype=torch.int64))
