"""Some examples of a split stand for all of it, though files lie sorted by label."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.tasks.supervised.examples import Examples, some
from pipelines.tasks.supervised.exportable import batches
from tests.pipelines.tasks.supervised.small_images import recipe, write_raw


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipelines.recipe import kinds

    root = tmp_path_factory.mktemp("some")
    write_raw(root / "raw")
    kinds.task("classification")(recipe()).prepare(root / "raw", root / "prepared", None)
    return root / "prepared"


def test_they_are_of_every_label(prepared: Path) -> None:
    every, few = Examples(prepared, "train"), Examples(prepared, "train", 8)
    assert (np.diff(every.targets) >= 0).all(), "sorted, as folders of classes are"
    assert set(few.targets.tolist()) == set(every.targets.tolist())
    for number, place in enumerate(few.places.tolist()):
        assert few.raw(number) == every.raw(place)
        assert few.place([number]) == every.place([place])
        assert (few.inputs[number] == every.inputs[place]).all()


def test_batches_hold_the_same_examples(prepared: Path) -> None:
    every = Examples(prepared, "train")
    made = np.concatenate([batch["image"] for batch in batches(every, 8)])
    assert (made == Examples(prepared, "train", 8).inputs).all()


@pytest.mark.parametrize(("count", "most", "size"), [(10, None, 10), (10, 12, 10), (10, 4, 4), (0, 4, 0)])
def test_some(count: int, most: int | None, size: int) -> None:
    places = some(count, most)
    assert len(places) == size
    assert (np.diff(places) > 0).all()
    assert (places == some(count, most)).all()
