"""NF4: the paper's values and blocks, the nearest code, a product whose gradient is that of the unpacked weight."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm

from kernels.nf4 import BLOCK, CODE, SECOND, block_scales, dequantize, nf4_linear, quantize

SHAPES = [(1, 1), (3, 5), (64, 64), (7, 130), (192, 576), (520, 64)]


def weight(shape, scale=0.05):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_the_codes_are_quantiles_of_a_normal_distribution():
    """The construction of the paper's section 3, as bitsandbytes' create_normal_map has it."""
    offset = 0.9677083
    above = norm.ppf(np.linspace(offset, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(offset, 0.5, 8)[:-1])
    values = np.sort(np.concatenate([above, below, [0.0]]))
    np.testing.assert_allclose(CODE, values / values.max(), atol=2e-7)


def test_the_codes_are_those_of_bitsandbytes():
    functional = pytest.importorskip("bitsandbytes.functional", reason="compares with bitsandbytes where it is there")
    _, state = functional.quantize_4bit(weight((64, 64)), quant_type="nf4", blocksize=64)
    assert state.code.tolist() == list(CODE)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_becomes_the_nearest_code_of_its_block(shape):
    given = weight(shape)
    found, flat = quantize(given), given.flatten().double()
    values = torch.stack([found.codes >> 4, found.codes & 15], 1).flatten()
    table = torch.tensor(CODE, dtype=torch.float64)
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        distances = (block[:, None] / block.abs().max() - table).abs()
        chosen = distances.gather(1, values[start : start + len(block), None].long())[:, 0]
        assert (chosen <= distances.min(1).values + 1e-6).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_magnitudes_are_kept_in_eight_bits_a_block(shape):
    given = weight(shape)
    padded = F.pad(given.flatten(), (0, -given.numel() % BLOCK)).view(-1, BLOCK)
    largest, found = padded.abs().amax(1), quantize(given)
    off = (block_scales(found) - largest).abs()
    spread = (largest - largest.mean()).abs()
    assert (off <= spread / 16 + spread.max() / 448 / 2 + 1e-7).all()  # E4M3: three bits after the point
    assert len(found.scales) == math.ceil(len(largest) / SECOND)


def test_it_takes_an_eighth_of_float32_and_a_little():
    found = quantize(weight((576, 1536)))
    assert found.bytes / (576 * 1536 * 4) == pytest.approx((4 + 8 / 64 + 32 / 64 / 256) / 32, rel=0.01)


def test_what_is_unpacked_is_packed_to_the_same_again():
    once = dequantize(quantize(weight((64, 256))))
    error = (once - weight((64, 256))).square().mean().sqrt() / 0.05
    assert 0.05 < error < 0.11  # of four bits on normal numbers; int4 by absolute maximum loses about 0.12
    assert float((dequantize(quantize(torch.zeros(4, 64)))).abs().max()) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_product_and_gradient_are_those_of_the_unpacked_weight(dtype):
    packed = quantize(weight((48, 70)))
    x = torch.randn(2, 3, 70, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
    dense = dequantize(packed, dtype)
    y, wanted = nf4_linear(x, packed), F.linear(x, dense)
    assert y.dtype == dtype
    torch.testing.assert_close(y, wanted)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    (ours,), (theirs,) = (torch.autograd.grad(out, x, grad) for out in (y, wanted))
    torch.testing.assert_close(ours, theirs)


def test_under_autocast_it_multiplies_in_bfloat16():
    packed, x = quantize(weight((8, 64))), torch.ones(2, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert nf4_linear(x, packed).dtype == torch.bfloat16


def test_the_op_is_whole():
    packed = quantize(weight((8, 64)))
    x = torch.randn(3, 64, requires_grad=True)
    torch.library.opcheck(torch.ops.metroline.nf4_product.default, (x, *packed, False))


def test_what_is_kept_for_the_backward_pass_is_the_four_bits():
    packed, kept = quantize(weight((256, 256))), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        nf4_linear(torch.ones(4, 256, requires_grad=True), packed)
    assert sum(tensor.numel() * tensor.element_size() for tensor in kept) == packed.bytes


@pytest.mark.parametrize(("given", "message"), [
    (torch.zeros(3), "a weight is a matrix"),
    (torch.zeros(2, 2, 2), "a weight is a matrix"),
    (torch.zeros(0, 4), "a weight is a matrix"),
    (torch.tensor([[1.0, math.nan]]), "not finite"),
    (torch.tensor([[1.0, math.inf]]), "not finite"),
])  # fmt: skip
def test_weights_that_cannot_be_packed(given, message):
    with pytest.raises(ValueError, match=message):
        quantize(given)


def test_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"inputs \[2, 3\] do not fit a weight \[8, 64\]"):
        nf4_linear(torch.zeros(2, 3), quantize(weight((8, 64))))


def test_triton_is_refused_where_it_cannot_run():
    if torch.cuda.is_available():
        pytest.skip("it can")
    with pytest.raises(ValueError, match="triton has no cpu backend here"):
        dequantize(quantize(weight((8, 64))), backend="triton")
