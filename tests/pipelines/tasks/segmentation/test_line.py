"""Images with masks, from files to a bundle that serves."""

import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from base.errors import MetrolineError
from base.files import read_json
from data import golden
from data.signature import Signature
from models.common.layers import ConvNorm
from models.unet.config import Config
from models.unet.network import segmenter
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.tasks.segmentation.network import build
from pipelines.tasks.segmentation.pairs import Pairs, augmented
from pipelines.tasks.segmentation.scores import by_threshold, scores, threshold
from pipelines.training.stage import train
from serving.app.run import start
from tests.pipelines.tasks.segmentation import small_masks

LABELS = {"ground": 0, "disc": 255}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained, evaluated, exported."""
    made, paths = small_masks.recipe(), Paths("discs", tmp_path_factory.mktemp("discs"))
    small_masks.write_raw(paths.raw)
    kinds.task("segmentation")(made).prepare(paths.raw, paths.prepared, None)
    train(made, paths)
    evaluate(made, paths)
    export(made, paths)
    return paths


def test_it_beats_brightness_and_says_so(line: Paths) -> None:
    metrics = read_json(line.metrics)
    assert metrics["test"]["pixel_error"] < metrics["baselines"]["floor_pixel_error"]
    assert metrics["test"]["dice"] > 0.7
    assert metrics["test"]["items"] == 6
    named = {f"test.{name}" for name in metrics["test"]} | {f"baselines.{name}" for name in metrics["baselines"]}
    assert named <= set(kinds.task("segmentation").measured)
    card = (line.bundle / "README.md").read_text(encoding="utf-8")
    assert f"{metrics['test']['dice']:.4g}" in card
    assert "(masks.png)" in card


def test_the_endpoint_answers_with_a_png_for_each_label(line: Paths, tmp_path: Path) -> None:
    """In the words of Hugging Face's image segmentation; the golden item's masks are the trained model's."""
    signature = Signature.load(line.bundle / "signature.json")
    item = golden.load(line.bundle, signature)[0]
    large = small_masks.png(np.full((200, 300), 90))
    with start(line.bundle, port=0, log=tmp_path / "serve.log") as server:
        server.wait_ready()

        def ask(raw: bytes) -> httpx.Response:
            address, kind = f"{server.url}/v1/models/discs/predict", {"Content-Type": "image/png"}
            return httpx.post(address, content=raw, headers=kind, timeout=30, trust_env=False)

        answers = [ask(item.inputs[0]), ask(large), ask(small_masks.png(np.zeros((1, 1)))), ask(b"no image")]
    assert [each.status_code for each in answers] == [200, 200, 200, 400]
    found = answers[0].json()
    assert [each["label"] for each in found] == ["ground", "disc"]
    assert sum(each["area"] for each in found) == pytest.approx(1)
    masks = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each["mask"])))) for each in found]
    assert masks[0].shape == (32, 32)
    np.testing.assert_array_equal(masks[0] == 0, masks[1] == 255)
    assert found[1]["area"] == pytest.approx((masks[1] == 255).mean())
    assert golden.compare(signature, item, golden.answers(signature, found)) is None
    found[0]["mask"], found[1]["mask"] = found[1]["mask"], found[0]["mask"]
    assert golden.compare(signature, item, golden.answers(signature, found))
    with pytest.raises(MetrolineError, match="is no mask of disc, ground"):
        golden.answer(signature.outputs[0], [{"label": "disc", "mask": "AAAA"}])


def test_image_and_mask_are_cut_and_turned_alike() -> None:
    """A mask that is its image stays so, whatever batch it is in."""
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), dtype=np.uint8)
    data = small_masks.recipe().data.model_copy(update={"jitter": 0.0})
    epochs, examples = np.zeros(5, np.int64), np.arange(5)
    cut, masks = augmented(images, images[..., 0], data, 1, epochs, examples)
    assert cut.shape == (5, 24, 24, 1)
    np.testing.assert_array_equal(cut[..., 0], masks)
    alone, _ = augmented(images[2:3], images[2:3, ..., 0], data, 1, epochs[:1], examples[2:3])
    np.testing.assert_array_equal(alone[0], cut[2])
    again, _ = augmented(images, images[..., 0], data, 1, epochs + 1, examples)
    assert (again != cut).any()


def test_an_image_of_another_size_has_its_mask_in_the_networks(line: Paths) -> None:
    test = Pairs(line.prepared, "test", LABELS)
    assert test.inputs.shape == (6, 32, 32, 1)
    assert test.masks.shape == (6, 32, 32)
    assert set(np.unique(test.masks)) == {0, 1}


def test_the_values_are_those_of_the_definitions() -> None:
    wanted = np.array([[0, 0, 1, 1, 1]])
    given = np.array([[0, 1, 1, 1, 0]])
    found = scores(given, wanted, 2, 1)
    assert found["pixel_error"] == pytest.approx(2 / 5)
    assert found["dice"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["mean_iou"] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_the_best_threshold_is_the_best() -> None:
    """Against all of them, one by one."""
    dice = np.random.default_rng(1)
    images = [dice.integers(0, 256, (9, 9, 1), dtype=np.uint8) for _ in range(3)]
    masks = np.stack([(image[..., 0] > 100) ^ (dice.random((9, 9)) < 0.2) for image in images]).astype(np.int64)
    found = threshold(images, masks, 2)
    errors = [np.mean(by_threshold(images, (border, a, b)) != masks) for border in range(257) for a in (0, 1)
              for b in (0, 1)]  # fmt: skip
    assert np.mean(by_threshold(images, found) != masks) == min(errors)


GREY = small_masks.png(np.full((32, 32), 17))


@pytest.mark.parametrize(
    ("more", "changes", "problem"),
    [
        ({"image__99_png": GREY}, {}, "image/99.png: no mask of this name"),
        ({"image__b__3_png": GREY}, {}, "image/.*3.png and image/.*3.png have one name"),
        ({"mask__b__3_png": GREY}, {}, "mask/.*3.png and mask/.*3.png have one name"),
        ({"mask__3_png": GREY}, {}, "mask/3.png: a pixel has the value 17, which is no label's"),
        ({"mask__3_png": small_masks.png(np.zeros((9, 8)))}, {}, "mask/3.png: 8 x 9 pixels, and its image 32 x 32"),
        ({"image__3_png": b"GIF89a"}, {}, "image/3.png: .*GIF"),
        ({"mask__3_png": b"nothing"}, {}, "mask/3.png: not a PNG that can be read"),
        ({}, {"split": {"method": "given", "given": {"test": "/99"}}}, "test"),
        ({}, {"data": {"kind": "image-masks", "labels": LABELS, "images": "pictures/*"}}, "no fetched file matches"),
    ],
)
def test_what_is_no_pair(tmp_path: Path, more: dict[str, bytes], changes: dict[str, Any], problem: str) -> None:
    small_masks.write_raw(tmp_path / "raw", **more)
    with pytest.raises(MetrolineError, match=problem):
        kinds.task("segmentation")(small_masks.recipe(**changes)).prepare(tmp_path / "raw", tmp_path / "out", None)


@pytest.mark.parametrize(
    ("data", "task", "problem"),
    [
        ({}, {"subject": "square"}, "task.subject: square is none of data.labels"),
        ({"crop": 64, "height": 32}, {}, "data.crop: 64 is larger than the image"),
        ({"turn": True, "height": 32}, {}, "data.turn: a quarter turn needs square images"),
    ],
)
def test_sections_that_contradict_each_other(data: dict[str, Any], task: dict[str, Any], problem: str) -> None:
    made = small_masks.recipe(data={"kind": "image-masks", "labels": LABELS, **data},
                              task={"kind": "segmentation", **task})  # fmt: skip
    assert any(problem in line for line in problems(made))


@pytest.mark.parametrize("labels", [{"a": 0}, {"a": 0, "b": 0}, {"a": 0, "b": 256}])
def test_labels_that_are_none(labels: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="labels"):
        small_masks.recipe(data={"kind": "image-masks", "labels": labels})


def test_a_network_that_cannot(line: Paths) -> None:
    index = read_json(line.prepared / "index.json")
    with pytest.raises(MetrolineError, match="mlp gives no label to each pixel"):
        build(small_masks.recipe(model={"kind": "mlp"}).model, index, torch.Generator())
    with pytest.raises(MetrolineError, match="must be multiples of 64"):
        build(Config(widths=(2,) * 7), index, torch.Generator())


def test_each_pixel_sees_both_sides_and_batch_norm_folds() -> None:
    network = segmenter(Config(widths=(4, 8, 8)), (1, 16, 24), 3, torch.Generator()).eval()
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(1))
    x = torch.randn(2, 1, 16, 24, generator=torch.Generator().manual_seed(2))
    assert network(x).shape == (2, 3, 16, 24)
    torch.testing.assert_close(network(x[1:]), network(x)[1:], atol=1e-5, rtol=1e-5)
    assert any(isinstance(part, ConvNorm) for part in network.modules())
