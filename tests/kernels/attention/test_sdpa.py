"""SDPA backend and dispatcher against the float64 reference, and the reference against a formula written out."""

import sys

import pytest
import torch

import kernels
from tests.kernels.attention.cases import Case, offsets, relative
from tests.kernels.layouts import normal

CASES = {
    "causal": Case(),
    "full": Case(causal=False),
    "one token": Case(length=1),
    "grouped": Case(heads=6, kv_heads=2),
    "fewer queries": Case(length=5, keys=17),
    "fewer queries, full": Case(length=5, keys=17, causal=False),
    "more queries": Case(length=9, keys=4),  # the first queries see no key
    "window": Case(window=4),
    "window, full": Case(window=4, causal=False),
    "softcap": Case(softcap=5.0),
    "sinks": Case(sinks=True),
    "sinks, window, softcap": Case(sinks=True, window=3, softcap=2.0),
    "padding": Case(causal=False, padding=(17, 6)),
    "a row of padding": Case(causal=False, padding=(17, 0)),
    "documents": Case(documents=(5, 1, 0, 11)),
    "documents, window": Case(documents=(5, 1, 0, 11), window=2),
    "documents, full": Case(documents=(5, 1, 0, 11), causal=False),
    "documents with caches": Case(documents=(2, 1, 3), key_documents=(5, 4, 3)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 1.5e-2)])
def test_sdpa_equals_the_reference(name, dtype, tolerance):
    case = CASES[name]
    tensors = case.tensors(dtype)
    results = {}
    for backend in ("sdpa", "reference"):
        inputs = {n: t.clone().requires_grad_() for n, t in tensors.items() if n != "grad"}
        exact = {n: t.double() for n, t in inputs.items()} if backend == "reference" else inputs
        out = kernels.attention(**exact, **case.options(), backend=backend)
        out.backward(tensors["grad"].to(out.dtype))
        results[backend] = {"out": out, **{n: t.grad for n, t in inputs.items()}}
    for name, actual in results["sdpa"].items():
        assert torch.isfinite(actual).all(), name
        assert relative(actual, results["reference"][name]) <= tolerance * (1 if name == "out" else 4), name


@pytest.mark.parametrize("name", CASES)
def test_log_sum_exp(name):
    case = CASES[name]
    tensors = case.tensors()
    tensors.pop("grad")
    results = [
        kernels.attention(**tensors, **case.options(), backend=backend, return_lse=True)[1]
        for backend in ("sdpa", "reference")
    ]
    assert results[0].dtype == torch.float32
    assert torch.equal(torch.isfinite(results[0]), torch.isfinite(results[1]))
    seen = torch.isfinite(results[1])
    assert relative(results[0][seen], results[1][seen]) < 2e-6


@pytest.mark.parametrize("backend", ["sdpa", "reference"])
def test_a_sink_of_minus_infinity_is_none(backend):
    """In value and gradient, also in rows that see no key."""
    results = []
    for sinks in (torch.tensor([-torch.inf, -torch.inf], requires_grad=True), None):
        q, k, v = (normal(s, 1, n, 2, 32).requires_grad_() for s, n in enumerate((6, 3, 3)))
        out, lse = kernels.attention(q, k, v, sinks=sinks, return_lse=True, backend=backend)
        results.append([out, lse, *torch.autograd.grad(out.sum(), (q, k, v), retain_graph=True)])
        if sinks is not None:
            assert torch.equal(torch.autograd.grad(out.sum(), sinks)[0], torch.zeros(2))
    for actual, expected in zip(*results, strict=True):
        assert torch.equal(actual, expected)
        assert not torch.isnan(actual).any()


@pytest.mark.parametrize("options", [{"softcap": 3.0}, {"alibi": torch.rand(2), "softcap": 3.0}], ids=["", "alibi"])
def test_gradients_of_rows_that_see_no_key_are_zero(options):
    q, k, v = (normal(s, 1, 6, 2, 32).requires_grad_() for s in range(3))
    real = torch.arange(6)[None] > 2
    out = kernels.attention(q, k, v, key_padding=real, **options, backend="sdpa")
    gradients = torch.autograd.grad(out.square().sum(), (q, k, v))
    assert all(torch.isfinite(g).all() for g in gradients)
    assert torch.equal(gradients[0][:, :3], torch.zeros(1, 3, 2, 32))


@pytest.mark.parametrize("backend", ["sdpa", "reference"])
def test_tokens_before_the_first_document_see_nothing(backend):
    q, k, v = (normal(s, 1, 12, 2, 32) for s in range(3))
    starts = torch.tensor([3, 5, 10], dtype=torch.int32)
    out = kernels.attention(q, k, v, cu_seqlens_q=starts, backend=backend)
    assert torch.equal(out[:, :3], torch.zeros(1, 3, 2, 32))
    assert torch.equal(out[:, 10:], torch.zeros(1, 2, 2, 32))
    for a, b in ((3, 5), (5, 10)):
        assert relative(out[:, a:b], kernels.attention(*(x[:, a:b] for x in (q, k, v)), backend="reference")) < 2e-6


def test_the_reference_is_softmax():
    tensors = Case(heads=1, batch=1).tensors(torch.float64)
    q, k, v = (tensors[n][0, :, 0] for n in "qkv")
    expected = torch.softmax((q @ k.T / 32**0.5).masked_fill(torch.ones(17, 17).triu(1).bool(), -torch.inf), -1) @ v
    out = kernels.attention(*(tensors[n] for n in "qkv"), backend="reference")
    assert torch.allclose(out[0, :, 0], expected)


def test_a_mask_can_be_shared():
    case = CASES["documents"]
    tensors = case.tensors()
    tensors.pop("grad")
    packing = kernels.pack(case.options()["cu_seqlens_q"], 1, 17)
    assert torch.equal(kernels.attention(**tensors, packing=packing), kernels.attention(**tensors, **case.options()))


@pytest.mark.parametrize(
    "options", [{"window": 3}, {"causal": False}, {"key_padding": torch.arange(17)[None] != 7}], ids=str
)
def test_a_shared_mask_does_not_replace_other_options(options):
    """The prepared mask is causal and of documents alone."""
    tensors = Case(documents=(5, 1, 11)).tensors()
    tensors.pop("grad")
    starts = offsets((5, 1, 11))
    expected = kernels.attention(**tensors, cu_seqlens_q=starts, **options, backend="reference")
    out = kernels.attention(**tensors, packing=kernels.pack(starts, 1, 17), **options)
    assert relative(out, expected) < 2e-6


@pytest.mark.parametrize("options", [{}, {"window": 4}, {"softcap": 3.0}], ids=str)
def test_dtypes_may_differ_under_autocast(options):
    """Norms give float32 under autocast and linear layers its dtype; SDPA takes both, and so does `attention`."""
    tensors = Case().tensors()
    tensors.pop("grad")
    tensors["v"] = tensors["v"].bfloat16()
    with pytest.raises(ValueError, match="dtypes do not fit"):
        kernels.attention(**tensors, **options)
    with torch.autocast("cpu", torch.bfloat16):
        out = kernels.attention(**tensors, **options)
    assert out.dtype == torch.bfloat16
    expected = kernels.attention(*(tensors[n].float() for n in "qkv"), **options, backend="reference")
    assert relative(out, expected) < 1.5e-2


def test_rows_that_start_documents_may_stay_rows():
    case = Case(documents=(5, 3, 8))
    tensors = case.tensors()
    q, k, v = (tensors[n] for n in "qkv")
    packed = kernels.attention(q, k, v, cu_seqlens_q=offsets((5, 3, 8)))
    rows = [x.view(2, 8, *x.shape[2:]) for x in (q, k, v)]
    assert relative(kernels.attention(*rows, cu_seqlens_q=offsets((5, 3, 8))).flatten(0, 1), packed[0]) < 1e-6


def test_plain_training_calls_sdpa_itself():
    """No wrapper of ours in the autograd graph, so that torch.compile and autograd see what they know."""
    tensors = Case(kv_heads=2).tensors()
    q, k, v = (tensors[n].requires_grad_() for n in "qkv")
    nodes, pending = [], [kernels.attention(q, k, v).grad_fn]
    while pending:
        node = pending.pop()
        nodes.append(node.name())
        pending += [inner for inner, _ in node.next_functions if inner is not None]
    assert sorted(set(nodes)) == [
        "ScaledDotProductFlashAttentionForCpuBackward0",
        "TransposeBackward0",
        "torch::autograd::AccumulateGrad",
    ]


Z = torch.zeros
BAD = {
    "three dimensions": ((Z(2, 3, 4),) * 3, {}, "q, k, v need 4 dimensions"),
    "key and value differ": ((Z(1, 2, 2, 8), Z(1, 2, 2, 8), Z(1, 3, 2, 8)), {}, "shapes do not fit"),
    "batches differ": ((Z(1, 2, 2, 8), Z(2, 2, 2, 8), Z(2, 2, 2, 8)), {}, "shapes do not fit"),
    "head sizes differ": ((Z(1, 2, 2, 8), Z(1, 2, 2, 4), Z(1, 2, 2, 4)), {}, "shapes do not fit"),
    "heads": ((Z(1, 2, 3, 8), Z(1, 2, 2, 8), Z(1, 2, 2, 8)), {}, "3 query heads are not a multiple of 2"),
    "dtypes": ((Z(1, 2, 2, 8), Z(1, 2, 2, 8).half(), Z(1, 2, 2, 8).half()), {}, "dtypes do not fit"),
    "integers": ((Z(1, 2, 2, 8).int(),) * 3, {}, "floating-point"),
    "window": ((Z(1, 2, 2, 8),) * 3, {"window": 0}, "window must be at least 1"),
    "softcap": ((Z(1, 2, 2, 8),) * 3, {"softcap": -1.0}, "softcap must be positive"),
    "sinks": ((Z(1, 2, 2, 8),) * 3, {"sinks": Z(3)}, r"sinks must be \[2\]"),
    "padding": ((Z(1, 2, 2, 8),) * 3, {"key_padding": Z(1, 3).bool()}, r"key_padding must be bool \[1, 2\]"),
    "padding dtype": ((Z(1, 2, 2, 8),) * 3, {"key_padding": Z(1, 2)}, r"key_padding must be bool \[1, 2\]"),
    "only keys packed": ((Z(1, 2, 2, 8),) * 3, {"cu_seqlens_k": Z(2).int()}, "cu_seqlens_k needs cu_seqlens_q"),
    "packed dtype": ((Z(1, 2, 2, 8),) * 3, {"cu_seqlens_q": Z(2)}, "cu_seqlens_q must be int32"),
    "no document": ((Z(1, 2, 2, 8),) * 3, {"cu_seqlens_q": Z(1).int()}, "of at least one document"),
    "more documents of keys": (
        (Z(1, 2, 2, 8),) * 3,
        {"cu_seqlens_q": offsets((2,)), "cu_seqlens_k": offsets((1, 1))},
        "equally many documents",
    ),
    "documents of more keys than there are": (
        (Z(1, 2, 2, 8),) * 3,
        {"cu_seqlens_q": offsets((2,)), "cu_seqlens_k": offsets((3,))},
        "cu_seqlens_k must rise from 0 or more to at most the 2 tokens, not 0, 3",
    ),
    "unpacked keys": (
        (Z(1, 2, 2, 8), Z(1, 3, 2, 8), Z(1, 3, 2, 8)),
        {"cu_seqlens_q": Z(2).int()},
        "cu_seqlens_k is needed",
    ),
    "backend": ((Z(1, 2, 2, 8),) * 3, {"backend": "cuda"}, "no backend 'cuda'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name):
    tensors, options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        kernels.attention(*tensors, **options)


def test_imports_without_triton():
    """As on macOS and Windows, which have no triton."""
    import subprocess

    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, kernels\n"
        "x = torch.randn(1, 4, 2, 32)\n"
        "print(kernels.attention(x, x, x).shape, kernels.explain(x, x, x).backend)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "sdpa"
