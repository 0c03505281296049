"""The weights are those of torch's and Pillow's antialiased bilinear resize."""

import numpy as np
import pytest
import torch
from PIL import Image

from data.images.resize import resize_weights

SIZES = [
    ((7, 9), (7, 9)),
    ((31, 17), (8, 8)),
    ((8, 8), (31, 17)),
    ((100, 3), (5, 64)),
    ((1, 640), (28, 28)),
    ((5, 5), (1, 1)),
]


@pytest.mark.parametrize(("there", "here"), SIZES)
def test_as_torch(there, here):
    image = np.random.default_rng(0).random((*there, 3), np.float32)
    rows, columns = resize_weights(there[0], here[0]), resize_weights(there[1], here[1])
    found = np.einsum("hi,ijc,wj->hwc", rows, image, columns)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], size=here, mode="bilinear", antialias=True, align_corners=False
    )
    np.testing.assert_allclose(found, expected[0].permute(1, 2, 0).numpy(), atol=1e-6)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)


def test_as_pillow():
    image = np.random.default_rng(1).integers(0, 256, (61, 47), np.uint8)
    found = resize_weights(61, 20) @ image.astype(np.float32) @ resize_weights(47, 20).T
    expected = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR))
    assert np.abs(found - expected).max() <= 1.01  # Pillow rounds to whole levels after each of the two passes


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0)])
def test_no_pixels(sizes):
    with pytest.raises(ValueError, match="no resize"):
        resize_weights(*sizes)
