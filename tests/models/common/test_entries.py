"""What a tokenizer puts around texts."""

import torch

from models.common.entries import TextEntry


def test_a_frame_goes_around_each_text() -> None:
    tokens = torch.tensor([[5, 6, 7], [8, 0, 0]])
    framed = TextEntry([101], [102, 103])(tokens)
    assert framed.tolist() == [[101, 5, 6, 7, 102, 103], [101, 8, 102, 103, 0, 0]]
    assert TextEntry([], [102])(tokens).tolist() == [[5, 6, 7, 102], [8, 102, 0, 0]]
    assert TextEntry([101], [])(tokens).tolist() == [[101, 5, 6, 7], [101, 8, 0, 0]]


def test_the_frame_is_no_weight() -> None:
    assert not TextEntry([101], [102]).state_dict()
