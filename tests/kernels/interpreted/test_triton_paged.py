"""Decoding over a paged cache: ragged lengths, scattered pages, every feature, against gathered float64."""

import pytest
import torch

import kernels
from kernels import rotary_tables
from kernels.attention import paged

DTYPES = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 1.5e-2}


def inputs(lengths, heads=4, kv_heads=2, width=32, page=16, dtype=torch.float32, seed=0):
    """A cache with its pages in random order, and not-a-number in every slot that no token holds."""
    generator = torch.Generator().manual_seed(seed)
    most = max(1, -(-max(lengths) // page))
    pages = len(lengths) * most + 3
    table = torch.randperm(pages, generator=generator)[: len(lengths) * most].view(len(lengths), most).int()
    k, v = (torch.randn(pages, page, kv_heads, width, generator=generator).to(dtype) for _ in range(2))
    used = torch.zeros(pages, page, dtype=torch.bool)
    for row, length in enumerate(lengths):
        for token in range(length):
            used[table[row, token // page], token % page] = True
    k[~used], v[~used] = torch.nan, torch.nan
    q = torch.randn(len(lengths), heads, width, generator=generator).to(dtype)
    return q, k, v, table, torch.tensor(lengths, dtype=torch.int32)


def compare(tensors, bound, **options):
    q, k, v, table, lengths = tensors
    ours = kernels.paged_attention(q, k, v, table, lengths, **options, backend="triton")
    expected = kernels.paged_attention(
        q.double(), k.double(), v.double(), table, lengths, **options, backend="reference"
    )
    assert ours.dtype == q.dtype
    assert torch.isfinite(ours).all()
    assert (ours.double() - expected).abs().max() <= bound * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [32, 48, 128])
def test_head_sizes_and_dtypes(width, dtype):
    compare(inputs([70, 1, 33], width=width, dtype=dtype), DTYPES[dtype])


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (2, 2), (8, 2), (20, 1)])
def test_groups(heads, kv_heads):
    compare(inputs([40, 200], heads=heads, kv_heads=kv_heads), 2e-6)


@pytest.mark.parametrize("page", [1, 16, 64])
def test_pages_and_lengths(page):
    compare(inputs([0, 1, 64, 65, 300], heads=2, kv_heads=1, page=page), 2e-6)


@pytest.mark.parametrize("shares", [1, 2, 8])
def test_any_number_of_shares(shares, monkeypatch):
    monkeypatch.setattr(paged, "splits", lambda *_: shares)
    compare(inputs([300, 10], heads=2, kv_heads=1), 2e-6)


@pytest.mark.parametrize("name", ["window", "softcap", "sinks", "alibi", "norm", "rope", "all"])
def test_features(name):
    lengths = [100, 7, 0]
    generator = torch.Generator().manual_seed(1)
    cos, sin = rotary_tables(128, 32, 100.0)
    place = torch.tensor(lengths).sub(1).clamp(min=0)
    options = {
        "window": {"window": 30},
        "softcap": {"softcap": 2.0},
        "sinks": {"sinks": torch.randn(4, generator=generator)},
        "alibi": {"alibi": torch.linspace(0.1, 0.4, 4)},
        "norm": {"q_norm": (1 + 0.2 * torch.randn(32, generator=generator), 1e-5)},
        "rope": {"q_rope": (cos[place], sin[place])},
    }
    chosen = {k: v for entry in options.values() for k, v in entry.items()} if name == "all" else options[name]
    compare(inputs(lengths), 2e-6, **chosen)


def test_a_sink_of_minus_infinity_is_none():
    compare(inputs([20, 0], heads=2, kv_heads=1), 2e-6, sinks=torch.tensor([-torch.inf, 0.3]))


@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("wrong", ["long", "negative", "page beyond the pool", "negative page"])
def test_what_is_not_there_is_not_read(wrong, window):
    """On a GPU nobody looks at lengths and table first: the row is not-a-number, the others are right."""
    q, k, v, table, lengths = inputs([20, 40, 33])
    expected = kernels.paged_attention(q, k, v, table, lengths, window=window or None, backend="triton")
    if "page" in wrong:
        table[1, 2] = -1 if "negative" in wrong else 1 << 20
    else:
        lengths[1] = 1 << 30 if wrong == "long" else -5
    out = paged._op(q, k, v, table, lengths, None, None, None, None, None, 0.0, window, 32**-0.5, 0.0)
    assert torch.equal(out[[0, 2]], expected[[0, 2]])
    assert torch.isnan(out[1]).all()


def test_the_custom_op_is_sound():
    torch.library.opcheck(paged._op, (*inputs([40, 3]), None, None, None, None, None, 0.0, 0, 0.2, 0.0))
