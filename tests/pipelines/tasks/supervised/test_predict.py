"""Inputs go through a module in batches of bounded size, and none is lost."""

import numpy as np
import pytest
from torch import Tensor, nn

from pipelines.tasks.supervised.predict import BATCH, BYTES, predict


class Noting(nn.Module):
    """Means of items; the sizes of the batches are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return x.flatten(1).float().mean(1, keepdim=True)


@pytest.mark.parametrize(("shape", "size"), [((4, 4, 3), BATCH), ((256, 256, 3), BYTES // (256 * 256 * 3)),
                                             ((1024, 1024, 3), 1)])  # fmt: skip
def test_large_items_come_in_small_batches(shape: tuple[int, ...], size: int) -> None:
    count = size + 2
    inputs = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    module = Noting().eval()
    found = predict(module, inputs)
    assert module.sizes[0] == size
    assert sum(module.sizes) == count
    np.testing.assert_allclose(found[:, 0], inputs.reshape(count, -1).mean(1), rtol=1e-4)


def test_nothing_and_a_module_in_training_mode() -> None:
    assert predict(Noting().eval(), np.zeros((0, 3), np.float32)).shape == (0, 1)
    with pytest.raises(ValueError, match="training mode"):
        predict(Noting().train(), np.zeros((1, 3), np.float32))
