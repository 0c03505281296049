"""Attention's GPU gates M1 to M3: dense, packed documents, windows; each against what PyTorch has, in one process."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import kernels
from benchmarks._gpu import Gate, maybe, median_ms, relative_error
from kernels.attention.packing import Packing, with_ranges

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Call = Callable[[], Any]


def inputs(tokens: int, heads: int, width: int, device: torch.device, batch: int = 1) -> list[Tensor]:
    """Fresh random q, k, v and output gradient, [B, S, H, D] bfloat16."""
    shape = (batch, tokens // batch, heads, width)
    return [torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=i < 3) for i in range(4)]


def triton(**options: Any) -> Attend:
    """Our kernels."""
    return lambda q, k, v: kernels.attention(q, k, v, **options, backend="triton")


def sdpa(backend: SDPBackend, causal: bool) -> Attend:
    """PyTorch's own, one backend of it."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)

    return attend


def flex(starts: Tensor, tokens: int, window: int | None) -> Attend:
    """FlexAttention, compiled, with its block mask of causal documents made beforehand."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    document = torch.bucketize(torch.arange(tokens, device=starts.device), starts[1:].long(), right=True)

    def seen(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        allowed = (document[q] == document[k]) & (q >= k)
        return allowed & (q - k < window) if window is not None else allowed

    # Compiled, as PyTorch advises: otherwise all tokens² positions would be in memory.
    make = torch.compile(create_block_mask, dynamic=False)
    mask = make(seen, None, None, tokens, tokens, device=str(starts.device))
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda q, k, v: compiled(*(x.transpose(1, 2) for x in (q, k, v)), block_mask=mask).transpose(1, 2)


def varlen(starts: Tensor) -> Attend:
    """FlashAttention-2 over packed sequences, where this PyTorch has it."""
    from torch.nn.attention import varlen as module

    longest = int((starts[1:] - starts[:-1]).max())

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        try:
            out = module.varlen_attn(q[0], k[0], v[0], starts, starts, longest, longest, window_size=(-1, 0))
        except TypeError:  # before PyTorch 2.12
            out = module.varlen_attn(q[0], k[0], v[0], starts, starts, longest, longest, is_causal=True)
        return out[None]

    return attend


def passes(
    attend: Attend, q: Tensor, k: Tensor, v: Tensor, grad: Tensor
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """(forward alone, backward alone) of an attention."""

    def forward() -> Tensor:
        with torch.no_grad():
            return attend(q, k, v)

    graph: list[Tensor] = []

    def backward() -> tuple[Tensor, ...]:
        if not graph:
            graph.append(attend(q, k, v))
        return torch.autograd.grad(graph[0], (q, k, v), grad, retain_graph=True)

    return forward, backward


def errors(attend: Attend, tensors: list[Tensor], where: slice, **options: Any) -> dict[str, float]:
    """Relative errors against float64 of the output and, the largest, of the gradients of q, k and v.

    In one random head of the tokens `where` (a document, or the first row), which attend only to each other.
    """
    q, k, v, grad = tensors
    out = attend(q, k, v)
    gradients = torch.autograd.grad(out, (q, k, v), grad)
    head = int(torch.randint(q.shape[2], ()))

    def pick(x: Tensor) -> Tensor:
        return x[:1, where, head : head + 1].detach()

    exact = [pick(x).double().requires_grad_() for x in (q, k, v)]
    expected = kernels.attention(*exact, **options, backend="reference")
    wanted = torch.autograd.grad(expected, exact, pick(grad).double())
    pairs = zip(gradients, wanted, strict=True)
    return {
        "error": relative_error(pick(out), expected),
        "gradient_error": max(relative_error(pick(actual), exact) for actual, exact in pairs),
    }


def flops(batch: int, length: int, heads: int, width: int, causal: bool) -> float:
    """Floating-point operations of a forward pass; a backward pass has 2.5 times as many."""
    return 4.0 * batch * heads * length * length * width * (0.5 if causal else 1.0)


def dense(device: torch.device, tokens: int, lengths: list[int]) -> Iterator[dict[str, Any] | Gate]:
    """M1: lines of results, then the gates."""
    gates = {
        ("forward", "flash", None): Gate("M1 forward / FlashAttention-2", 1.05),
        ("forward", "cudnn", 64): Gate("M1 forward / cuDNN, D = 64", 0.85),
        ("forward", "cudnn", 128): Gate("M1 forward / cuDNN, D = 128", 0.65),
        ("backward", "flash", None): Gate("M1 backward / FlashAttention-2", 0.8),
    }
    for width in (64, 128):
        for causal in (True, False):
            for length in lengths:
                batch, heads = tokens // length, 2048 // width if device.type == "cuda" else 1
                q, k, v, grad = tensors = inputs(tokens, heads, width, device, batch)
                ours = passes(triton(causal=causal), q, k, v, grad)
                line: dict[str, Any] = {"gate": "M1", "D": width, "causal": causal, "S": length, "B": batch, "H": heads}
                line |= errors(triton(causal=causal), tensors, slice(None), causal=causal)
                baselines = {
                    name: passes(sdpa(backend, causal), q, k, v, grad)
                    for name, backend in (
                        ("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)
                    )
                }  # fmt: skip
                work = flops(batch, length, heads, width, causal)
                for index, part in enumerate(("forward", "backward")):
                    mine = median_ms(ours[index], device)
                    line[f"{part}_ms"] = mine
                    line[f"{part}_tflops"] = work * (1.0, 2.5)[index] / mine / 1e9
                    for name, baseline in baselines.items():
                        theirs = maybe(lambda: baseline[index], device)  # noqa: B023
                        line[f"{part}_{name}_ms"] = theirs
                        for size in (None, width):
                            if (part, name, size) in gates:
                                gates[part, name, size].add(mine, theirs)
                yield line
    yield from gates.values()


def documents(tokens: int, mean: int, device: torch.device) -> Tensor:
    """cu_seqlens of documents that fill `tokens`: lengths exponentially distributed around `mean`, at most 8,192."""
    drawn = torch.empty(4 * tokens // mean + 8).exponential_(1 / mean).long().clamp(1, 8192)
    ends = drawn.cumsum(0)
    inner = ends[ends < tokens]
    return torch.tensor([0, *inner.tolist(), tokens], dtype=torch.int32, device=device)


def both(attend: Attend, q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> Callable[[], Any]:
    """Forward and backward."""
    return lambda: torch.autograd.grad(attend(q, k, v), (q, k, v), grad)


def packed(
    device: torch.device, tokens: int, means: list[int], window: int | None = None
) -> Iterator[dict[str, Any] | Gate]:
    """M2, and M3 with a window: forward and backward over packed documents."""
    name = "M2" if window is None else "M3"
    against_flex = Gate(f"{name} forward + backward / FlexAttention", 1.3 if window is None else 1.2)
    against_varlen = Gate("M2 forward + backward / varlen_attn", 1.1)
    for mean in means:
        heads, width = (16, 64) if device.type == "cuda" else (1, 64)
        starts = documents(tokens, mean, device)
        q, k, v, grad = tensors = inputs(tokens, heads, width, device)
        packing: Packing = with_ranges(starts, starts, tokens, tokens)  # as a model makes it, once for all layers
        ours = triton(packing=packing, window=window)
        line: dict[str, Any] = {"gate": name, "tokens": tokens, "mean_length": mean, "window": window, "H": heads}
        longest = int(starts.diff().argmax())
        line |= errors(ours, tensors, slice(int(starts[longest]), int(starts[longest + 1])), window=window)
        mine = line["ms"] = median_ms(both(ours, q, k, v, grad), device)
        line["flex_ms"] = maybe(lambda: both(flex(starts, tokens, window), q, k, v, grad), device)  # noqa: B023
        against_flex.add(mine, line["flex_ms"])
        if window is None:
            line["varlen_ms"] = maybe(lambda: both(varlen(starts), q, k, v, grad), device)  # noqa: B023
            against_varlen.add(mine, line["varlen_ms"])
        yield line
    yield against_flex
    if window is None:
        yield against_varlen


def deterministic(device: torch.device, tokens: int, runs: int = 10) -> bool:
    """Whether gradients are equal to the bit over runs, over packed documents."""
    starts = documents(tokens, 256, device)
    q, k, v, grad = inputs(tokens, 2, 64, device)
    attend = triton(packing=with_ranges(starts, starts, tokens, tokens))
    first = torch.autograd.grad(attend(q, k, v), (q, k, v), grad)
    return all(
        torch.equal(a, b)
        for _ in range(runs - 1)
        for a, b in zip(first, torch.autograd.grad(attend(q, k, v), (q, k, v), grad), strict=True)
    )
