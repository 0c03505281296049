"""Packed documents: empty ones, single tokens, borders inside tiles, caches, windows; and the whole decoder on them."""

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kernels
from kernels.attention.packing import with_ranges
from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from tests.kernels.attention.cases import Case, check, offsets
from tests.kernels.layouts import agree, normal

DOCUMENTS = {
    "one": (67,),
    "many": (1, 0, 30, 64, 1, 1, 20),
    "empty at the ends": (0, 40, 30, 0),
    "on tile borders": (64, 64, 10),
    "single tokens": (1,) * 10,
}


@pytest.mark.parametrize("options", [{}, {"causal": False}, {"window": 10}, {"window": 10, "causal": False}], ids=str)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(name, options):
    check(Case(documents=DOCUMENTS[name], heads=1, **options), torch.float32, "triton")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_documents_in_half_precision(dtype):
    check(Case(documents=(1, 0, 30, 64, 20), softcap=5.0, sinks=True, alibi=True, q_rope=True), dtype, "triton")


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("queries", "keys"),
    [((1, 1, 1), (30, 1, 50)), ((5, 0, 20), (9, 4, 40)), ((7, 30, 2), (3, 0, 2)), ((40, 40), (20, 70))],
    ids=str,
)
def test_queries_and_keys_packed_differently(queries, keys, causal):
    check(Case(documents=queries, key_documents=keys, heads=1, causal=causal), torch.float32, "triton")


def test_tokens_after_the_last_document_see_nothing():
    q, k, v = (torch.randn(1, 80, 1, 32, generator=torch.Generator().manual_seed(s)).requires_grad_() for s in range(3))
    out = kernels.attention(q, k, v, cu_seqlens_q=offsets((10, 20)), backend="triton")
    out.sum().backward()
    assert torch.equal(out[:, 30:], torch.zeros(1, 50, 1, 32))
    assert all(torch.equal(x.grad[:, 30:], torch.zeros(1, 50, 1, 32)) for x in (q, k, v))


@pytest.mark.parametrize("options", [{}, {"causal": False}, {"window": 10}, {"window": 10, "causal": False}], ids=str)
@pytest.mark.parametrize(
    "borders", [((7, 30, 30, 71), (7, 30, 30, 71)), ((70, 80), (3, 65)), ((0, 80), (40, 60))], ids=str
)
def test_tokens_before_the_first_document_see_nothing(borders, options):
    """And nothing sees them: the same as the documents alone, and zero around them."""
    starts, key_starts = (torch.tensor(b, dtype=torch.int32) for b in borders)
    q, k, v = (normal(s, 1, 80, 1, 32).requires_grad_() for s in range(3))
    (a, b), (c, d) = ((b[0], b[-1]) for b in borders)
    offsets = {"cu_seqlens_q": starts, "cu_seqlens_k": key_starts}
    alone = {"cu_seqlens_q": starts - a, "cu_seqlens_k": key_starts - c}
    grad = normal(3, 1, 80, 1, 32)
    out = kernels.attention(q, k, v, **offsets, **options, backend="triton")
    inner = kernels.attention(q[:, a:b], k[:, c:d], v[:, c:d], **alone, **options, backend="reference")
    expected = torch.nn.functional.pad(inner, (0, 0, 0, 0, a, 80 - b))
    names = ("out", "q", "k", "v")
    agree(
        dict(zip(names, (out, *torch.autograd.grad(out, (q, k, v), grad)), strict=True)),
        dict(zip(names, (expected, *torch.autograd.grad(expected, (q, k, v), grad)), strict=True)),
    )


@st.composite
def cases(draw):
    packed = draw(st.booleans())
    causal = draw(st.booleans())
    kv_heads = draw(st.sampled_from([1, 2]))
    values = {
        "heads": kv_heads * draw(st.sampled_from([1, 2])),
        "kv_heads": kv_heads,
        "width": draw(st.sampled_from([32, 48, 64])),
        "causal": causal,
        "window": draw(st.none() | st.integers(1, 80)),
        "softcap": draw(st.none() | st.floats(1.0, 60.0)),
        "sinks": draw(st.booleans()),
        "alibi": draw(st.booleans()),
        "q_rope": draw(st.booleans()),
        "q_norm": draw(st.booleans()),
        "batch": 1,
    }
    if packed:
        values["documents"] = tuple(draw(st.lists(st.integers(0, 50), min_size=1, max_size=4)))
        if sum(values["documents"]) == 0:
            values["documents"] = (3,)
    else:
        values["length"] = draw(st.integers(1, 90))
        values["keys"] = draw(st.integers(1, 90))
        if draw(st.booleans()):
            values["padding"] = (draw(st.integers(0, values["keys"])),)
    return Case(**values)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=cases(), dtype=st.sampled_from([torch.float32, torch.float16]))
def test_any_combination(case, dtype):
    check(case, dtype, "triton", seed=1)


def test_the_decoder_on_packed_documents_equals_each_document_alone(monkeypatch):
    """What a trainer on a GPU runs: the documents' intervals go to the Triton kernels of every layer."""
    import models.decoder.model as module

    def triton(q, k, v, **options):
        return kernels.attention(q, k, v, **options, backend="triton")

    def ranges(starts, batch, length, branches):
        assert branches is None
        return with_ranges(starts, starts, batch * length, batch * length)

    monkeypatch.setattr(module, "attention", triton)
    monkeypatch.setattr(module, "pack", ranges)
    config = DecoderConfig(
        vocab_size=50, context=64, layers=2, heads=2, kv_heads=1, width=64, qk_norm=True, init_std=0.2
    )
    model = Decoder(config, torch.Generator().manual_seed(0))
    ids = torch.randint(0, 50, (2, 36), generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, 50, (72,), generator=torch.Generator().manual_seed(2))
    lengths = (1, 35, 20, 16)
    starts = offsets(lengths)

    def loss(ids, targets, **options):
        features = model.features(ids, **options).flatten(0, 1)
        return kernels.linear_cross_entropy(features, model.head_weight, targets, reduction="sum")

    packed = loss(ids, targets, cu_seqlens=starts)
    flat, bounds = ids.flatten(), starts.tolist()
    alone = sum(loss(flat[None, a:b], targets[a:b]) for a, b in pairwise(bounds))
    assert abs(float(packed.detach() / alone.detach()) - 1) < 1e-6
    weights = list(model.parameters())
    for a, b in zip(torch.autograd.grad(packed, weights), torch.autograd.grad(alone, weights), strict=True):
        assert (a - b).abs().max() < 2e-5 * b.abs().max()
