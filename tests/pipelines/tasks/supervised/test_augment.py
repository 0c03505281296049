"""Augmentation is a function of (seed, epoch, example)."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from pipelines.tasks.supervised.augment import augmented
from pipelines.tasks.supervised.config import ImagesData
from pipelines.tasks.supervised.draws import uniform
from pipelines.training.stage import identify
from tests.pipelines.tasks.supervised.small_images import recipe

ALL = ImagesData(flip=True, shift=2, cutout=3, jitter=0.2)
IMAGES = np.random.default_rng(0).integers(1, 256, (6, 8, 8, 3), dtype=np.uint8)
EPOCHS, EXAMPLES = np.zeros(6, np.int64), np.arange(6)


def test_a_run_with_other_augmentation_is_another_run() -> None:
    learner: Any = SimpleNamespace(data_hash="of the prepared data, which stays the same")
    plain, flipped = (identify(recipe(data={"kind": "images", "flip": flip}), learner) for flip in (False, True))
    assert plain != flipped


def test_it_does_not_depend_on_the_batch_an_image_is_in() -> None:
    whole = augmented(IMAGES, ALL, 1, EPOCHS, EXAMPLES)
    parts = [augmented(IMAGES[i : i + 1], ALL, 1, EPOCHS[:1], EXAMPLES[i : i + 1]) for i in range(6)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_another_epoch_or_seed_gives_another_image() -> None:
    whole = augmented(IMAGES, ALL, 1, EPOCHS, EXAMPLES)
    assert (whole != augmented(IMAGES, ALL, 1, EPOCHS + 1, EXAMPLES)).any()
    assert (whole != augmented(IMAGES, ALL, 2, EPOCHS, EXAMPLES)).any()


def test_off_changes_nothing_and_flip_only_mirrors() -> None:
    assert augmented(IMAGES, ImagesData(), 1, EPOCHS, EXAMPLES) is IMAGES
    flipped = augmented(IMAGES, ImagesData(flip=True), 1, EPOCHS, EXAMPLES)
    mirrored = [not np.array_equal(a, b) for a, b in zip(flipped, IMAGES, strict=True)]
    assert 0 < sum(mirrored) < 6
    for after, before, turned in zip(flipped, IMAGES, mirrored, strict=True):
        np.testing.assert_array_equal(after, before[:, ::-1] if turned else before)


def test_shift_moves_and_fills_with_zeros() -> None:
    moved = augmented(IMAGES, ImagesData(shift=2), 1, EPOCHS, EXAMPLES)
    for after, before in zip(moved, IMAGES, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        windows = [padded[y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
        assert any(np.array_equal(after, window) for window in windows)


def test_cutout_blanks_at_most_its_square() -> None:
    blank = (augmented(IMAGES, ImagesData(cutout=3), 1, EPOCHS, EXAMPLES) == 0).all(-1).sum((1, 2))
    assert (blank <= 9).all()
    assert (blank >= 4).all()


def test_uniform_is_uniform() -> None:
    draws = uniform(5, np.zeros(20_000, np.int64), np.arange(20_000), 2)
    assert abs(draws.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.02
