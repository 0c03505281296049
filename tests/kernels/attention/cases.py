"""Inputs for attention tests: what there is to vary, and random tensors for it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import kernels

TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 1.5e-2}


@dataclass(frozen=True)
class Case:
    """One combination of `kernels.attention`'s arguments. Lengths of documents make it packed (batch 1)."""

    length: int = 17
    keys: int | None = None
    batch: int = 2
    heads: int = 2
    kv_heads: int = 1
    width: int = 32
    causal: bool = True
    window: int | None = None
    softcap: float | None = None
    sinks: bool = False
    alibi: bool = False
    q_norm: bool = False
    q_rope: bool = False
    padding: tuple[int, ...] | None = None  # real keys in each row
    documents: tuple[int, ...] | None = None
    key_documents: tuple[int, ...] | None = None

    def tensors(self, dtype: torch.dtype = torch.float32, seed: int = 0, spread: float = 1.0) -> dict[str, Tensor]:
        """q, k, v and an output gradient, normal with standard deviation `spread` (q, k) or 1."""
        generator = torch.Generator().manual_seed(seed)
        batch = 1 if self.documents is not None else self.batch
        length = sum(self.documents) if self.documents is not None else self.length
        keys = self.keys if self.keys is not None else length
        if self.key_documents is not None:
            keys = sum(self.key_documents)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        q, k = normal(batch, length, self.heads, self.width), normal(batch, keys, self.kv_heads, self.width)
        v, grad = normal(batch, keys, self.kv_heads, self.width), normal(batch, length, self.heads, self.width)
        out = {"q": q * spread, "k": k * spread, "v": v, "grad": grad}
        if self.sinks:
            out["sinks"] = normal(self.heads)
        if self.q_norm:
            out["weight"] = 1 + 0.3 * normal(self.width)
        return {name: tensor.to(dtype) for name, tensor in out.items()}

    def call(self, tensors: dict[str, Tensor], backend: str) -> tuple[Tensor, Tensor]:
        """`kernels.attention` on the tensors: (out, log-sum-exp)."""
        tensors = {name: tensor for name, tensor in tensors.items() if name != "grad"}
        options = self.options()
        if self.q_norm:
            options["q_norm"] = (tensors.pop("weight"), 1e-5)
        if self.q_rope:
            length = tensors["q"].shape[1]
            angle = torch.arange(length)[:, None] * 10.0 ** (-torch.arange(self.width // 2) / self.width)
            options["q_rope"] = (angle.cos(), angle.sin())
        return kernels.attention(**tensors, **options, backend=backend, return_lse=True)

    def options(self) -> dict[str, Any]:
        """The remaining arguments of `kernels.attention` that need no gradient."""
        out: dict[str, Any] = {"causal": self.causal, "window": self.window, "softcap": self.softcap}
        if self.documents is not None:
            out["cu_seqlens_q"] = offsets(self.documents)
        if self.key_documents is not None:
            out["cu_seqlens_k"] = offsets(self.key_documents)
        if self.alibi:
            out["alibi"] = torch.linspace(0.05, 0.5, self.heads)
        if self.padding is not None:
            keys = self.keys if self.keys is not None else self.length
            out["key_padding"] = torch.arange(keys) < torch.tensor(self.padding)[:, None]
        return out


def check(case: Case, dtype: torch.dtype, backend: str, seed: int = 0, spread: float = 1.0) -> None:
    """Output, log-sum-exp and every gradient of a backend against float64 on the same (rounded) inputs."""
    tensors = case.tensors(dtype, seed, spread)
    inputs = {name: t.clone().requires_grad_() for name, t in tensors.items() if name != "grad"}
    exact = {name: t.double().requires_grad_() for name, t in tensors.items() if name != "grad"}
    out, lse = case.call(inputs, backend)
    expected, expected_lse = case.call(exact, "reference")
    assert out.dtype == dtype
    assert out.shape == expected.shape
    out.backward(tensors["grad"])
    expected.backward(tensors["grad"].double())
    bound = TOLERANCE[dtype]
    assert relative(out, expected) <= bound, f"out: {relative(out, expected):.1e}"
    assert torch.equal(torch.isfinite(lse), torch.isfinite(expected_lse))
    seen = torch.isfinite(expected_lse)
    lse_bound = bound if case.q_norm or case.q_rope else 2e-6  # rotated queries are rounded to the dtype again
    assert not seen.any() or relative(lse[seen], expected_lse[seen]) <= lse_bound
    for name, tensor in inputs.items():
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all(), name
        error = relative(tensor.grad, exact[name].grad)
        # Sums over all rows (sinks, a norm's weight) collect rounding of many terms.
        assert error <= bound * (1 if name in "qkv" else 4), f"gradient of {name}: {error:.1e}"


def offsets(lengths: tuple[int, ...]) -> Tensor:
    """Document lengths → cu_seqlens."""
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected magnitude or 2: where one key is seen, gradients cancel to zero."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=2.0))
