"""The gathered form of paged attention, and its errors."""

import pytest
import torch

import kernels
from kernels.attention.paged import splits


def test_equals_attention_over_each_row():
    generator = torch.Generator().manual_seed(0)
    k, v = (torch.randn(6, 4, 2, 8, generator=generator) for _ in range(2))
    q = torch.randn(2, 4, 8, generator=generator)
    table, lengths = torch.tensor([[5, 2, 0], [1, 3, 9]], dtype=torch.int32), torch.tensor([10, 6], dtype=torch.int32)
    alibi = torch.tensor([0.1, 0.2, 0.3, 0.4])
    for options in ({}, {"window": 3}, {"alibi": alibi}, {"softcap": 2.0}):
        out = kernels.paged_attention(q, k, v, table, lengths, **options)
        for row, pages in enumerate(([5, 2, 0], [1, 3])):
            keys, values = (x[pages].flatten(0, 1)[None, : lengths[row]] for x in (k, v))
            expected = kernels.attention(q[row][None, None], keys, values, **options)
            assert torch.allclose(out[row], expected[0, 0], atol=1e-5)


def test_shares_fill_the_processors_and_no_more():
    assert splits(programs=1, most_tokens=64, processors=132) == 1
    assert splits(programs=8, most_tokens=4096, processors=132) == 64
    assert splits(programs=1024, most_tokens=4096, processors=132) == 1


Z = torch.zeros
GOOD = {
    "q": Z(2, 4, 8),
    "k_pages": Z(6, 4, 2, 8),
    "v_pages": Z(6, 4, 2, 8),
    "table": Z(2, 3).int(),
    "lengths": Z(2).int(),
}
BAD = {
    "head size": ({"q": Z(2, 4, 16)}, "shapes do not fit"),
    "heads": ({"q": Z(2, 3, 8)}, "shapes do not fit"),
    "rows of the table": ({"table": Z(3, 3).int()}, "one row for each of 2 queries"),
    "lengths": ({"lengths": Z(3).int()}, "one row for each of 2 queries"),
    "dtype": ({"lengths": Z(2).long()}, "must be int32"),
    "window": ({"window": 0}, "window must be at least 1"),
    "softcap": ({"softcap": 0.0}, "softcap must be positive"),
    "sinks": ({"sinks": Z(3)}, r"paged_attention: sinks must be \[4\], not \[3\]"),
    "alibi": ({"alibi": Z(4, 1)}, r"alibi must be \[4\]"),
    "q_norm": ({"q_norm": (Z(4), 1e-5)}, r"q_norm's weight must be \[8\]"),
    "q_rope": ({"q_rope": (Z(2, 4), Z(4))}, r"q_rope must be \[2, 4\] twice, not \[2, 4\] and \[4\]"),
    "length": ({"lengths": torch.tensor([12, 13]).int()}, r"lengths\[1\] is 13; the table has room for 12 tokens"),
    "negative length": ({"lengths": torch.tensor([-1, 0]).int()}, r"lengths\[0\] is -1"),
    "page": (
        {"lengths": torch.tensor([0, 5]).int(), "table": torch.tensor([[9, 9, 9], [5, 6, 9]]).int()},
        r"table\[1, 1\] is 6; there are 6 pages",
    ),
    "backend": ({"backend": "triton"}, "triton cannot run"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        kernels.paged_attention(**(GOOD | changes))
