"""Non-maximum suppression: by its definition, and as ONNX Runtime's operator in an exported graph."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data.boxes import overlaps
from data.signature import Signature, VectorInput, VectorOutput
from models.common.nms import nms
from pipelines.exporting import graphs

IOU, LEAST, MOST, PLACES = 0.5, 0.2, 6, 60


class Suppress(nn.Module):
    """[B, PLACES · 6]: boxes and two labels' scores of each place → which stay."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        rows = given.view(given.shape[0], PLACES, 6)
        return nms(rows[..., :4], rows[..., 4:].transpose(1, 2), IOU, LEAST, MOST).flatten(1)


def some(images: int, seed: int = 0) -> torch.Tensor:
    dice = np.random.default_rng(seed)
    middles, sizes = dice.random((images, PLACES, 2)), dice.random((images, PLACES, 2)) * 0.3
    rows = np.concatenate([middles - sizes, middles + sizes, dice.random((images, PLACES, 2))], 2)
    return torch.from_numpy(rows.astype(np.float32)).flatten(1)


def by_definition(rows: np.ndarray, label: int) -> set[int]:
    stay: list[int] = []
    for place in np.argsort(-rows[:, 4 + label], kind="stable").tolist():
        near = overlaps(rows[[place], :4], rows[stay, :4]) if stay else np.zeros((1, 0))
        if rows[place, 4 + label] > LEAST and len(stay) < MOST and (near <= IOU).all():
            stay.append(place)
    return set(stay)


def test_the_best_of_those_that_overlap_stays() -> None:
    given = some(4)
    kept = Suppress()(given).view(4, 2, PLACES).numpy()
    for image, rows in enumerate(given.view(4, PLACES, 6).numpy()):
        for label in (0, 1):
            assert set(np.flatnonzero(kept[image, label])) == by_definition(rows, label)


def test_the_graph_does_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    shape = (PLACES * 6,)
    signature = Signature(task="x", inputs=(VectorInput(name="given", shape=shape),),
                          outputs=(VectorOutput(name="kept", shape=(2 * PLACES,)),))  # fmt: skip
    graphs.export(Suppress(), signature, {"given": some(3).numpy()}, tmp_path / "model.onnx")
    run = graphs.runner(tmp_path / "model.onnx", signature)
    for images in (1, 5):
        given = some(images, seed=images)
        np.testing.assert_array_equal(run({"given": given.numpy()})["kept"], Suppress()(given).numpy())
    nothing = np.zeros((2, *shape), np.float32)
    assert not run({"given": nothing})["kept"].any()


@pytest.mark.parametrize("least", [0.0, 0.999])
def test_ties_and_nothing(least: float) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]]])
    kept = nms(boxes, torch.tensor([[[0.9, 0.9, 0.9]]]), IOU, least, 10)
    assert kept.tolist() == ([[[1, 0, 1]]] if least == 0 else [[[0, 0, 0]]])
