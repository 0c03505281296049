"""The resize of prepare and pre.onnx against Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image

from models.common.resize import Resize


@pytest.mark.parametrize("size", [(28, 28), (57, 91), (9, 14), (1, 3)])
def test_it_is_pillows_antialiased_bilinear(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = Resize(28, 20)(torch.from_numpy(pixels)[None])[0].numpy()
    expected = np.asarray(Image.fromarray(pixels).resize((20, 28), Image.Resampling.BILINEAR))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1  # Pillow rounds between its two passes


def test_an_image_of_that_size_keeps_its_bytes() -> None:
    pixels = torch.randint(0, 256, (1, 28, 20, 1), dtype=torch.uint8)
    torch.testing.assert_close(Resize(28, 20)(pixels), pixels, rtol=0, atol=0)
