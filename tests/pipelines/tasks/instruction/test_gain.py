"""Losses per chat are those of each chat alone, and the interval is the paired bootstrap's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from base.progress import Progress
from data.text.shards import Shards
from kernels.cross_entropy.linear_cross_entropy import IGNORE
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.instruction.gain import chat_losses, gain
from pipelines.tasks.instruction.packing import pack
from pipelines.tasks.instruction.rows import inputs, rows_of
from pipelines.tasks.language_modelling.imported import imported
from tests.pipelines.tasks.instruction import small_chats


def of_gain(base: np.ndarray, tuned: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    return interval(gain(base, tuned, targets), np.arange(len(base)), 4000)


def test_the_losses_of_chats_in_shared_rows_are_those_alone(tmp_path):
    paths = small_chats.prepared(tmp_path)
    test, model = Shards(paths.prepared, "test"), imported(paths.pretrained, 259).eval()
    rows = pack(inputs(test).tolist(), 128, 0)
    with Progress("test", len(test), "chats") as progress:
        found = chat_losses(model, test, rows, 128, 2, progress)
    for chat, nats in enumerate(found):
        one = rows_of(test, [[chat]], 128, torch.device("cpu"))
        with torch.no_grad():
            logits = model(one.tokens[:, : int(inputs(test)[chat])])[0]
        wanted = F.cross_entropy(logits, one.targets[0, : len(logits)], reduction="sum", ignore_index=IGNORE)
        assert nats == pytest.approx(float(wanted), rel=1e-4)


def chats(gained: float, spread: float, count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    targets = generator.integers(3, 40, count)
    base = 2.0 * targets + generator.normal(0, 30, count)  # chats differ far more than the models do
    return base, base - (gained + generator.normal(0, spread, count)) * targets, targets


@pytest.mark.parametrize(("gained", "spread", "sure"), [(0.1, 0.3, True), (0.0, 0.3, False), (-0.1, 0.3, False)])
def test_the_interval_says_whether_a_gain_is_sure(gained, spread, sure):
    """Pairs are what makes it so: the spread between chats does not count."""
    low, high = of_gain(*chats(gained, spread))
    assert low < high
    assert (low > 0) == sure


def test_the_interval_is_as_wide_as_theory_says():
    base, tuned, targets = chats(0.1, 0.3)
    low, high = of_gain(base, tuned, targets)
    ratio = (base - tuned).sum() / targets.sum()
    residual = (base - tuned) - ratio * targets
    error = np.sqrt((residual**2).sum()) / targets.sum()  # the delta method for a ratio of sums
    assert low == pytest.approx(ratio - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(ratio + 1.96 * error, abs=0.2 * error)
    assert (low, high) == of_gain(base, tuned, targets)


def test_one_chat_has_an_interval_of_no_width():
    low, high = of_gain(np.array([4.0]), np.array([2.0]), np.array([4]))
    assert (low, high) == (0.5, 0.5)
