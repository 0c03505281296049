"""A frozen weight in four bits a number, NF4 with double quantization, and the product with it (QLoRA).

    weight = quantize(linear.weight)           # 4.127 bits a number
    y = nf4_linear(x, weight)                  # x @ dequantize(weight).T; a gradient to x alone

Source: Dettmers et al. 2023, arXiv:2305.14314. The row-major numbers in blocks of 64, each divided by its largest
magnitude, become the nearest of 16 values (quantiles of a normal distribution, `CODE`). The magnitudes less their mean
become 8-bit floats (E4M3) in blocks of 256, each with a float32 of its own. What is kept for the backward pass is the
four bits; the weight in the inputs' dtype exists while it is multiplied. `_reference` is plain PyTorch; on a GPU a
Triton kernel unpacks (kernels/nf4_triton.py).
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from kernels.attention import support

CODE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The 16 values, appendix E of the paper."""
BLOCK, SECOND = 64, 256
"""Numbers that share a magnitude; magnitudes that share a scale."""
_LARGEST = 448.0  # of float8_e4m3fn


class NF4(NamedTuple):
    """A weight [N, K] in four bits."""

    codes: Tensor
    """uint8 [blocks · 32]: two places in `CODE` a byte, the first in its upper half."""
    magnitudes: Tensor
    """uint8 [blocks]: the bits of a float8_e4m3fn, of each block, less `mean`, in units of `scales`."""
    scales: Tensor
    """float32 [blocks / 256, rounded up]."""
    mean: Tensor
    """float32 []."""
    rows: int
    columns: int

    @property
    def bytes(self) -> int:
        """All that is held."""
        return sum(part.numel() * part.element_size() for part in self[:4])


def quantize(weight: Tensor) -> NF4:
    """A weight [N, K] in four bits. Raises ValueError: not a matrix, or numbers that are not finite."""
    if weight.dim() != 2 or not weight.numel():
        raise ValueError(f"nf4: a weight is a matrix, not {list(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise ValueError("nf4: the weight has numbers that are not finite")
    flat = weight.detach().float().flatten()
    blocks = torch.nn.functional.pad(flat, (0, -flat.numel() % BLOCK)).view(-1, BLOCK)
    largest = blocks.abs().amax(1)
    code = torch.tensor(CODE, device=weight.device)
    middles = (code[1:] + code[:-1]) / 2
    places = torch.bucketize(blocks / torch.where(largest > 0, largest, 1.0)[:, None], middles).to(torch.uint8)
    pairs = places.view(-1, 2)
    mean = largest.mean()
    groups = torch.nn.functional.pad(largest - mean, (0, -len(largest) % SECOND)).view(-1, SECOND)
    scales = (groups.abs().amax(1) / _LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    magnitudes = (groups / scales[:, None]).flatten()[: len(largest)].to(torch.float8_e4m3fn).view(torch.uint8)
    return NF4(pairs[:, 0] << 4 | pairs[:, 1], magnitudes, scales, mean, *weight.shape)


def block_scales(weight: NF4) -> Tensor:
    """What each block's values are multiplied by, float32 [blocks]."""
    wide = weight.scales.repeat_interleave(SECOND)[: len(weight.magnitudes)]
    return weight.magnitudes.view(torch.float8_e4m3fn).float() * wide + weight.mean


def dequantize(
    weight: NF4, dtype: torch.dtype = torch.float32, *, backend: Literal["auto", "triton", "torch"] = "auto"
) -> Tensor:
    """The weight [N, K] that the four bits stand for. Raises ValueError for a backend that cannot run."""
    kind = weight.codes.device.type
    if backend == "triton" and not (support.INSTALLED and (kind == "cuda" or support.INTERPRETED)):
        raise ValueError(f"nf4: triton has no {kind} backend here")
    if backend == "triton" or (backend == "auto" and kind == "cuda" and support.INSTALLED):
        from kernels.nf4_triton import unpack

        table = torch.tensor(CODE, device=weight.codes.device)
        return unpack(weight.codes, block_scales(weight), table, weight.rows, weight.columns, dtype)
    return _reference(weight, dtype)


def _reference(weight: NF4, dtype: torch.dtype) -> Tensor:
    code = torch.tensor(CODE, device=weight.codes.device)
    places = torch.stack([weight.codes >> 4, weight.codes & 15], 1).int()
    values = code[places.flatten()].view(-1, BLOCK) * block_scales(weight)[:, None]
    return values.flatten()[: weight.rows * weight.columns].view(weight.rows, weight.columns).to(dtype)


def nf4_linear(x: Tensor, weight: NF4) -> Tensor:
    """x [..., K] → x @ dequantize(weight).T, [..., N], in x's dtype, or autocast's. No gradient flows to the weight.

    Raises ValueError for another last dimension.
    """
    if x.shape[-1] != weight.columns:
        raise ValueError(f"nf4: inputs {list(x.shape)} do not fit a weight [{weight.rows}, {weight.columns}]")
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    y = _product(x.reshape(-1, weight.columns), *weight, False)
    return y.view(*x.shape[:-1], weight.rows)


@torch.library.custom_op("metroline::nf4_product", mutates_args=())
def _product(
    x: Tensor, codes: Tensor, magnitudes: Tensor, scales: Tensor, mean: Tensor, rows: int, columns: int,
    backward: bool,
) -> Tensor:  # fmt: skip
    """x [M, K] @ W.T, or (backward) x [M, N] @ W."""
    weight = dequantize(NF4(codes, magnitudes, scales, mean, rows, columns), x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        return x @ (weight if backward else weight.t())


@_product.register_fake
def _(
    x: Tensor, codes: Tensor, magnitudes: Tensor, scales: Tensor, mean: Tensor, rows: int, columns: int,
    backward: bool,
) -> Tensor:  # fmt: skip
    return x.new_empty(x.shape[0], columns if backward else rows)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:5])
    ctx.rows, ctx.columns, ctx.backward = inputs[5:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _product(grad.contiguous(), *ctx.saved_tensors, ctx.rows, ctx.columns, not ctx.backward), *[None] * 7


_product.register_autograd(_backward, setup_context=_save)
