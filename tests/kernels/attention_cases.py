"""Inputs for attention tests: what there is to vary, and random tensors for it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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
        return {name: tensor.to(dtype) for name, tensor in out.items()}

    def options(self) -> dict[str, Any]:
        """The remaining arguments of `kernels.attention`, without sinks."""
        out: dict[str, Any] = {"causal": self.causal, "window": self.window, "softcap": self.softcap}
        if self.documents is not None:
            out["cu_seqlens_q"] = offsets(self.documents)
        if self.key_documents is not None:
            out["cu_seqlens_k"] = offsets(self.key_documents)
        if self.padding is not None:
            keys = self.keys if self.keys is not None else self.length
            out["key_padding"] = torch.arange(keys) < torch.tensor(self.padding)[:, None]
        return out


def offsets(lengths: tuple[int, ...]) -> Tensor:
    """Document lengths → cu_seqlens."""
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected magnitude, at least 0.05: some gradients are exactly zero."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=0.05))
