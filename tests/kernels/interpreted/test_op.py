"""The custom operator as PyTorch sees it: schema, fakes, autograd, autocast, torch.compile, torch.export, explain."""

from contextlib import contextmanager

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from triton.runtime.interpreter import GridExecutor

import kernels
from kernels import tuning
from kernels.attention import op as attention_op
from kernels.attention.packing import with_ranges
from tests.kernels.attention.cases import Case, offsets


def qkv(length=20, heads=2, kv_heads=1, width=32, **options):
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, length, heads, width), (1, length, kv_heads, width), (1, length, kv_heads, width))
    return [torch.randn(shape, generator=generator, **options).requires_grad_() for shape in shapes]


def arguments(name):
    """Everything after q, k, v in the operator's schema."""
    packing = with_ranges(offsets((5, 0, 15)), offsets((5, 0, 15)), 20, 20)
    angle = torch.rand(1, 20, 16)
    tensors = {
        "plain": [None] * 8,
        "features": [torch.randn(2, requires_grad=True), torch.rand(2), packing.ranges_q, packing.ranges_k, None,
                     angle.cos(), angle.sin(), torch.ones(32, requires_grad=True)],
        "padding": [None, None, None, None, torch.arange(20)[None] < 13, None, None, None],
    }[name]  # fmt: skip
    return [*tensors, 1e-5, name != "padding", 7 if name == "features" else 0, 0.17, 4.0 if name == "features" else 0.0]


@pytest.mark.parametrize("name", ["plain", "features", "padding"])
def test_opcheck(name):
    torch.library.opcheck(attention_op.attention, (*qkv(), *arguments(name)))


@pytest.mark.parametrize("name", ["plain", "features"])
def test_opcheck_of_the_backward(name):
    q, k, v = (x.detach() for x in qkv())
    rest = [x.detach() if isinstance(x, torch.Tensor) else x for x in arguments(name)]
    out, lse = attention_op.attention(q, k, v, *rest)
    for grad_lse in (None, torch.randn_like(lse)):
        torch.library.opcheck(
            attention_op.attention_backward, (torch.randn_like(out), grad_lse, q, k, v, out, lse, *rest)
        )


def loss(q, k, v, **options):
    return kernels.attention(q, k, v, backend="triton", **options).square().sum()


def test_compiles_in_one_graph_forward_and_backward():
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    inputs = qkv()
    for options in ({}, {"window": 5}, {"cu_seqlens_q": offsets((5, 15))}):
        ours, expected = compiled(*inputs, **options), loss(*inputs, **options)
        assert torch.equal(ours, expected)
        grads = torch.autograd.grad(ours, inputs), torch.autograd.grad(expected, inputs)
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_one_compilation_serves_every_length():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=counter)
    for length in (20, 33, 71):
        inputs = qkv(length)
        grads = torch.autograd.grad(compiled(*inputs), inputs), torch.autograd.grad(loss(*inputs), inputs)
        assert all((a - b).abs().max() < 1e-5 for a, b in zip(*grads, strict=True))
    assert counter.frame_count == 1


def test_exports_with_a_dynamic_length():
    class Module(torch.nn.Module):
        def forward(self, q, k, v):
            return kernels.attention(q, k, v, backend="triton")

    length = torch.export.Dim("length", min=3, max=512)
    inputs = tuple(x.detach() for x in qkv(20))
    program = torch.export.export(Module(), inputs, dynamic_shapes=({1: length},) * 3)
    assert any("metroline.attention" in str(node.target) for node in program.graph.nodes)
    longer = [x.detach() for x in qkv(50)]
    assert torch.equal(program.module()(*longer), kernels.attention(*longer, backend="triton"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_gives_its_dtype_as_for_sdpa(dtype):
    inputs = qkv()
    with torch.autocast("cpu", dtype):
        ours = kernels.attention(*inputs, backend="triton")
        assert ours.dtype == kernels.attention(*inputs, backend="sdpa").dtype == dtype
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(*inputs)
    exact = kernels.attention(*inputs, backend="sdpa")
    assert (ours.float() - exact).abs().max() < 0.02
    grads = torch.autograd.grad(ours.float().square().sum(), inputs), torch.autograd.grad(compiled, inputs)
    assert all(a.dtype == torch.float32 for a in grads[0])
    assert all((a - b).abs().max() <= 0.02 * b.abs().max() for a, b in zip(*grads, strict=True))


def test_dtypes_may_differ_under_autocast():
    q, k, v = qkv()
    with torch.autocast("cpu", torch.bfloat16):
        out = kernels.attention(q, k, v.detach().bfloat16(), backend="triton")
        explanation = kernels.explain(q, k, v, backend="triton")
    assert out.dtype == torch.bfloat16
    assert (out.float() - kernels.attention(q, k, v, backend="sdpa")).abs().max() < 0.02
    assert "torch.bfloat16" in explanation.reason


def test_an_unused_log_sum_exp_has_no_gradient_to_read(monkeypatch):
    from kernels.attention import launch as triton_attention

    seen = []

    def backward(grad, grad_lse, *rest):
        seen.append(grad_lse)
        return original(grad, grad_lse, *rest)

    original = triton_attention.backward
    monkeypatch.setattr(triton_attention, "backward", backward)
    inputs = qkv()
    kernels.attention(*inputs, backend="triton").sum().backward()
    _, lse = kernels.attention(*inputs, backend="triton", return_lse=True)
    lse.sum().backward()
    assert seen[0] is None
    assert torch.equal(seen[1], torch.ones_like(lse))


def test_every_kernel_is_launched_on_the_tensors_device(monkeypatch):
    """Triton launches on the current device: with tensors on another GPU that one must be made current first."""
    guarded, launches = [], []

    @contextmanager
    def device_of(tensor):
        guarded.append(tensor.shape)
        yield
        guarded.pop()

    def launch(self, *args, **kwargs):
        launches.append((self.fn.__name__, bool(guarded)))
        return original(self, *args, **kwargs)

    original = GridExecutor.__call__
    monkeypatch.setattr(GridExecutor, "__call__", launch)
    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    q, k, v = qkv(length=4)
    kernels.attention(q, k, v, q_norm=(torch.ones(32), 1e-5), backend="triton").sum().backward()
    pages = torch.zeros(1, 4, 1, 32)
    numbers = [torch.tensor([[0]], dtype=torch.int32), torch.tensor([3], dtype=torch.int32)]
    kernels.paged_attention(q[:, 0].detach(), pages, pages, *numbers, backend="triton")
    features = torch.randn(3, 4, requires_grad=True)
    kernels.linear_cross_entropy(features, torch.ones(5, 4), torch.tensor([0, 4, 2]), backend="triton").backward()
    expected = {"attention_forward", "query_forward", "attention_delta", "attention_grad_kv", "attention_grad_q",
                "query_backward", "paged_split", "paged_combine", "cross_entropy_rows"}  # fmt: skip
    assert {name for name, _ in launches} == expected
    assert all(inside for _, inside in launches)


def test_explain_says_which_backend_and_why():
    q, k, v = (x.detach() for x in qkv())
    assert kernels.explain(q, k, v, backend="triton").backend == "triton"
    assert kernels.explain(q, k, v, backend="triton").configs["forward"] == tuning.Config(64, 64, 4, 1)
    assert "only when asked for" in kernels.explain(q, k, v).reason
    refused = {
        "head size 40 is not one of 32, 48, 64, 96, 128": [x.detach() for x in qkv(width=40)],
        "dtype torch.float64 is not": [x.detach().double() for x in qkv()],
        "nothing to attend to": [x[:, :0] for x in (q, k, v)],
    }
    for reason, tensors in refused.items():
        explanation = kernels.explain(*tensors, backend="triton")
        assert explanation.backend == "sdpa"
        assert reason in explanation.reason
        with pytest.raises(ValueError, match=reason):
            kernels.attention(*tensors, backend="triton")
        assert kernels.attention(*tensors).shape == tensors[0].shape  # auto goes to SDPA
    assert "scale is not positive" in kernels.explain(q, k, v, scale=-1.0, backend="triton").reason
    packing = kernels.pack(offsets((5, 15)), 1, 20)
    assert "packed for SDPA" in kernels.explain(q, k, v, packing=packing, backend="triton").reason
    assert kernels.explain(q, k, v, backend="reference") == ("reference", "asked for", {})


def test_rows_with_documents_and_their_log_sum_exp():
    q, k, v = (x.detach() for x in qkv(24))
    rows = [x.view(2, 12, *x.shape[2:]) for x in (q, k, v)]
    starts = offsets((5, 7, 12))
    outs = [kernels.attention(*rows, cu_seqlens_q=starts, return_lse=True, backend=b) for b in ("triton", "sdpa")]
    for a, b in zip(*outs, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() < 2e-6
    case = Case(length=12)
    assert case.tensors()["q"].shape == rows[0].shape
