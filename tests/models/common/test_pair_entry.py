"""Two texts as one row, as BERT's tokenizers put them together."""

import torch

from models.common.pair_entry import PairEntry


def test_a_pair_stands_together_with_zeros_behind() -> None:
    first, second = torch.tensor([[5, 6], [7, 0]]), torch.tensor([[8, 0, 0], [9, 10, 11]])
    tokens, types, sides = PairEntry([101], [102])(first, second)
    assert tokens.tolist() == [[101, 5, 6, 102, 8, 102, 0, 0], [101, 7, 102, 9, 10, 11, 102, 0]]
    assert types.tolist() == [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 0]]
    assert sides.tolist() == [[0, 1, 1, 0, 2, 0, 0, 0], [0, 1, 0, 2, 2, 2, 0, 0]]
    tokens, types, sides = PairEntry([], [102, 103])(first[1:], second[:1])
    assert tokens.tolist() == [[7, 102, 103, 8, 102, 103, 0, 0, 0]]
    assert types.tolist() == [[0, 0, 0, 1, 1, 1, 0, 0, 0]]
    assert sides.tolist() == [[1, 0, 0, 2, 0, 0, 0, 0, 0]]


def test_padding_changes_nothing_but_zeros() -> None:
    first, second = torch.tensor([[5, 6]]), torch.tensor([[8]])
    plain, _, _ = PairEntry([101], [102])(first, second)
    wide, types, sides = PairEntry([101], [102])(torch.tensor([[5, 6, 0, 0]]), torch.tensor([[8, 0, 0]]))
    assert wide[0, : plain.shape[1]].tolist() == plain[0].tolist()
    assert not wide[0, plain.shape[1] :].any()
    assert (types.sum(), sides.sum()) == (2, 4)
    assert not PairEntry([101], [102]).state_dict()
