"""The kernel that unpacks NF4, against plain PyTorch: whole and broken blocks, each dtype."""

import pytest
import torch

from kernels.nf4 import dequantize, quantize


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (3, 21), (64, 64), (7, 130), (33, 576)])
def test_unpacked_as_plain_code_does(shape, dtype):
    packed = quantize(0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    found = dequantize(packed, dtype, backend="triton")
    rounding = 2**-7 if dtype == torch.bfloat16 else 0  # the interpreter cuts bfloat16 off
    torch.testing.assert_close(found, dequantize(packed, dtype, backend="torch"), rtol=rounding, atol=0)
