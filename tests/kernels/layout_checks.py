"""Each operator on tensors that lie anyhow in memory against the float64 reference on contiguous copies."""

from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

import kernels
from tests.kernels.layouts import agree, exact, laid_out, normal

Results = dict[str, Tensor]


def _gradients(outputs: Results, trained: Results, grads: list[Tensor]) -> Results:
    """The outputs and the gradients of what was trained, by name."""
    found = torch.autograd.grad(list(outputs.values()), list(trained.values()), grads)
    return outputs | {f"gradient of {name}": g for name, g in zip(trained, found, strict=True)}


def check_attention(data: st.DataObject, backend: str) -> None:
    """`kernels.attention.api` and its gradients, with every feature that reads a tensor."""
    rows, length, heads, kv_heads, width = data.draw(st.sampled_from([1, 2]), label="rows"), 9, 2, 1, 32
    packed = data.draw(st.booleans(), label="documents")
    keys = length if packed else data.draw(st.sampled_from([length, 5, 12]), label="keys")
    tensors = {
        "q": normal(0, rows, length, heads, width), "k": normal(1, rows, keys, kv_heads, width),
        "v": normal(2, rows, keys, kv_heads, width), "sinks": normal(3, heads), "alibi": normal(4, heads).abs() / 4,
        "weight": 1 + 0.3 * normal(5, width), "key_padding": normal(6, rows, keys) > -0.5,
        "grad": normal(7, rows, length, heads, width), "grad_lse": normal(8, rows, heads, length),
    }  # fmt: skip
    for seed, name in ((9, "cos"), (10, "sin")):  # each of them shared by the rows or not
        shape = (rows, length) if data.draw(st.booleans(), label=f"{name} of each row") else (length,)
        tensors[name] = normal(seed, *shape, width // 2).cos()
    if packed:
        starts = torch.tensor([0, 4, 9] if rows == 1 else [0, 3, 9, 14, 18], dtype=torch.int32)
        tensors |= {"cu_seqlens_q": starts, "cu_seqlens_k": starts.clone()}
    tensors = laid_out(data, tensors, fixed=("cu_seqlens_q", "cu_seqlens_k"))
    causal = data.draw(st.booleans(), label="causal")

    def run(tensors: Results, backend: str) -> Results:
        trained = {name: tensors[name].detach().requires_grad_() for name in ("q", "k", "v", "sinks", "weight")}
        options: dict[str, Any] = {n: tensors[n] for n in ("alibi", "key_padding")}
        options |= {n: tensors[n] for n in ("cu_seqlens_q", "cu_seqlens_k") if packed}
        options |= {"q_norm": (trained["weight"], 1e-5), "q_rope": (tensors["cos"], tensors["sin"])}
        out, lse = kernels.attention(
            *(trained[n] for n in "qkv"), sinks=trained["sinks"], causal=causal, **options, backend=backend,
            return_lse=True,
        )  # fmt: skip
        grads = [tensors["grad"].to(out.dtype), tensors["grad_lse"].to(lse.dtype)]
        return _gradients({"out": out, "lse": lse}, trained, grads)

    agree(run(tensors, backend), run(exact(tensors), "reference"))


def check_paged(data: st.DataObject, backend: str) -> None:
    """`kernels.paged_attention`, with every feature that reads a tensor."""
    heads, kv_heads, width, page = 2, 1, 32, 4
    pages = torch.randperm(11, generator=torch.Generator().manual_seed(0))[:9].view(3, 3).int()
    tensors = {
        "q": normal(0, 3, heads, width), "k_pages": normal(1, 11, page, kv_heads, width),
        "v_pages": normal(2, 11, page, kv_heads, width), "table": pages,
        "lengths": torch.tensor([9, 0, 12], dtype=torch.int32), "sinks": normal(3, heads),
        "alibi": normal(4, heads).abs() / 4, "weight": 1 + 0.3 * normal(5, width),
        "cos": normal(6, 3, width // 2).cos(), "sin": normal(7, 3, width // 2).sin(),
    }  # fmt: skip
    tensors = laid_out(data, tensors)
    window = data.draw(st.sampled_from([None, 5]), label="window")

    def run(tensors: Results, backend: str) -> Results:
        options: dict[str, Any] = {n: t for n, t in tensors.items() if n not in ("weight", "cos", "sin")}
        options |= {"q_norm": (tensors["weight"], 1e-5), "q_rope": (tensors["cos"], tensors["sin"])}
        return {"out": kernels.paged_attention(**options, window=window, backend=backend)}

    agree(run(tensors, backend), run(exact(tensors), "reference"))


def check_cached(data: st.DataObject) -> None:
    """`kernels.cached_attention`."""
    width = 8
    tensors = {
        "q": normal(0, 2, 3, 4, width), "k": normal(1, 2, 3, 2, width), "v": normal(2, 2, 3, 2, width),
        "past_k": normal(3, 2, 2, 5, width), "past_v": normal(4, 2, 2, 5, width), "lengths": torch.tensor([8, 4]),
        "cos": normal(5, 12, width // 2).cos(), "sin": normal(6, 12, width // 2).sin(),
    }  # fmt: skip
    tensors = laid_out(data, tensors)
    names = ("out", "present_k", "present_v")
    actual, expected = (dict(zip(names, kernels.cached_attention(**t), strict=True)) for t in (tensors, exact(tensors)))
    agree(actual, expected)


def check_loss(data: st.DataObject, backend: str) -> None:
    """`kernels.linear_cross_entropy` and its gradients."""
    vocab, width, shape = 40, 8, data.draw(st.sampled_from([(10,), (2, 5)]), label="tokens")
    targets = torch.randint(0, vocab, shape, generator=torch.Generator().manual_seed(0))
    targets.view(-1)[3] = -100
    tensors = {
        "features": normal(1, *shape, width), "weight": normal(2, vocab, width), "targets": targets,
        "token_weights": normal(3, *shape).abs(), "grad": normal(4, 1)[0],
    }  # fmt: skip
    tensors = laid_out(data, tensors)
    smoothing = data.draw(st.sampled_from([0.0, 0.1]), label="smoothing")

    def run(tensors: Results, backend: str) -> Results:
        trained = {name: tensors[name].detach().requires_grad_() for name in ("features", "weight")}
        answers, factors = tensors["targets"], tensors["token_weights"]
        if backend == "reference":
            logits = trained["features"].flatten(0, -2) @ trained["weight"].t()
            losses = F.cross_entropy(logits, answers.flatten(), label_smoothing=smoothing, reduction="none")
            loss = (losses * factors.flatten()).sum()
        else:
            loss = kernels.linear_cross_entropy(
                **trained, targets=answers, token_weights=factors, label_smoothing=smoothing, reduction="sum",
                backend=backend,
            )  # fmt: skip
        return _gradients({"loss": loss}, trained, [tensors["grad"].to(loss.dtype)])

    agree(run(tensors, backend), run(exact(tensors), "reference"))


def check_pointwise(data: st.DataObject) -> None:
    """RMSNorm, QK-norm with RoPE, SwiGLU and squared ReLU: the gradients by hand against autograd's."""
    heads, kv_heads, width = 2, 1, 8
    tensors = {
        "x": normal(0, 2, 5, (heads + 2 * kv_heads) * width), "norm_q": normal(1, width), "norm_k": normal(2, width),
        "cos": normal(3, 1, 5, 1, width // 2).cos(), "sin": normal(4, 2, 5, 1, width // 2).sin(),
        **{f"grad_{i}": normal(5 + i, *shape) for i, shape in enumerate(
            ((2, 5, 32), (2, 5, 16), (2, 5, 32), (2, 5, heads, width), (2, 5, kv_heads, width), (2, 5, kv_heads, width))
        )},
    }  # fmt: skip
    tensors = laid_out(data, tensors)

    def run(tensors: Results, by_hand: bool) -> Results:
        trained = {name: tensors[name].detach().requires_grad_() for name in ("x", "norm_q", "norm_k")}
        x, norms, rope = trained["x"], (trained["norm_q"], trained["norm_k"]), (tensors["cos"], tensors["sin"])
        if by_hand:
            outs = [kernels.rms_norm(x, 1e-3), kernels.swiglu(x), kernels.relu2(x)]
            outs += kernels.rotary_qkv(x, heads, kv_heads, rope, norms, 1e-3)
        else:
            gate, up = x.chunk(2, dim=-1)
            outs = [F.rms_norm(x, x.shape[-1:], None, 1e-3), F.silu(gate) * up, F.relu(x).square()]
            q, k, v = x.unflatten(-1, (-1, width)).split([heads, kv_heads, kv_heads], dim=-2)
            turned = (
                kernels.rotate(F.rms_norm(y, (width,), w, 1e-3), *rope) for y, w in zip((q, k), norms, strict=True)
            )
            outs += [*turned, v]
        names = ("rms_norm", "swiglu", "relu2", "q", "k", "v")
        return _gradients(dict(zip(names, outs, strict=True)), trained, [tensors[f"grad_{i}"] for i in range(6)])

    agree(run(tensors, by_hand=True), run(exact(tensors), by_hand=False))
