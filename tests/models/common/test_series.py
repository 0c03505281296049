"""Gaps of a series: filled by the nearest value before, in the exported operations."""

import numpy as np
import pytest
import torch

from models.common.series import SeriesEntry, fill


def filled_one_by_one(x: np.ndarray) -> np.ndarray:
    """The rule in a loop."""
    found = x.copy()
    for channel in range(x.shape[1]):
        for step in range(1, len(x)):
            if np.isnan(found[step, channel]):
                found[step, channel] = found[step - 1, channel]
    return found


@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 1.0])
def test_filling(length: int, share: float) -> None:
    dice = np.random.default_rng(length)
    x = dice.normal(size=(length, 3)).astype(np.float32)
    x[dice.random(x.shape) < share] = np.nan
    np.testing.assert_array_equal(fill(torch.tensor(x)[None])[0].numpy(), filled_one_by_one(x))
    backwards = filled_one_by_one(x[::-1])[::-1]
    np.testing.assert_array_equal(fill(torch.tensor(x)[None], backwards=True)[0].numpy(), backwards)


def test_each_channel_is_standardised_and_an_empty_one_is_the_mean() -> None:
    entry = SeriesEntry({"mean": [10.0, 100.0], "std": [2.0, 50.0]})
    nan = float("nan")
    found = entry(torch.tensor([[[nan, nan], [12.0, nan], [nan, nan]]]))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]))
