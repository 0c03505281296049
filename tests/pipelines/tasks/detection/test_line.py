"""Images with boxes, from files to a bundle that serves."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from base.errors import MetrolineError
from base.files import read_json
from data import golden
from data.boxes import overlaps, rows_of
from data.signature import BoxesOutput, Signature
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.tasks.detection.boxed import Boxed
from pipelines.tasks.detection.network import Answers, build, load
from pipelines.training.stage import train
from serving.app.run import start
from tests.pipelines.tasks.detection import small_boxes
from tests.pipelines.tasks.raw_files import write_raw

pytest.importorskip("pycocotools")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained, evaluated, exported."""
    made, paths = small_boxes.recipe(), Paths("shapes", tmp_path_factory.mktemp("shapes"))
    write_raw(paths.raw, small_boxes.files())
    kinds.task("detection")(made).prepare(paths.raw, paths.prepared, None)
    train(made, paths)
    evaluate(made, paths)
    export(made, paths)
    return paths


@pytest.fixture(scope="module")
def signature(line: Paths) -> Signature:
    return Signature.load(line.bundle / "signature.json")


def test_boxes_that_are_none_are_left_out_and_counted(line: Paths) -> None:
    splits = read_json(line.prepared / "index.json")["splits"]
    assert splits["test"]["dropped"] == {"no area": 1, "outside the image": 1, "twice": 1}
    assert not splits["train"]["dropped"]
    told = (line.prepared / "test.dropped.jsonl").read_text(encoding="utf-8")
    assert '{"id": "boxes/7.xml box' in told
    assert '"reason": "no area", "detail": "disc 9 9 9 9"}' in told


def test_it_beats_blobs_of_colour_and_says_so(line: Paths) -> None:
    metrics = read_json(line.metrics)
    assert metrics["test"]["map50"] > metrics["baselines"]["floor_map50"] + 0.3
    assert metrics["test"]["map50"] > 0.6
    named = {f"test.{name}" for name in metrics["test"]} | {f"baselines.{name}" for name in metrics["baselines"]}
    assert named <= set(kinds.task("detection").measured)
    assert set(metrics["groups"]) == {"label=disc", "label=square"}
    card = (line.bundle / "README.md").read_text(encoding="utf-8")
    assert f"{metrics['test']['map50']:.4g}" in card
    assert "(boxes.png)" in card
    reference = read_json(line.bundle / "reference.json")
    assert set(reference["outputs"]) == {"disc", "square"}


def test_the_graph_has_the_signatures_thresholds_and_no_batch_norm(line: Paths, signature: Signature) -> None:
    """NMS stands in the graph, with the numbers that the signature says; BatchNorm is folded into convolutions."""
    graph = onnx.load(line.bundle / "model.onnx").graph
    nodes = [node.op_type for node in graph.node]
    assert nodes.count("NonMaxSuppression") == 1
    assert "BatchNormalization" not in nodes
    (output,) = signature.outputs
    assert isinstance(output, BoxesOutput)
    known = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    known |= {node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
              for node in graph.node if node.op_type == "Constant"}  # fmt: skip
    (nms,) = [node for node in graph.node if node.op_type == "NonMaxSuppression"]
    most, iou, least = (known[name].item() for name in nms.input[2:])
    assert (most, iou, least) == (output.shape[0], np.float32(output.iou), np.float32(output.least))
    assert output.labels == small_boxes.LABELS
    assert output.threshold > output.least


def test_other_thresholds_give_other_boxes(line: Paths) -> None:
    test = Boxed(line.prepared, "test")
    network = load(small_boxes.recipe().model, test.index, line.checkpoint)
    pixels = torch.from_numpy(test.inputs)

    def rows(**changes: Any) -> np.ndarray:
        with torch.no_grad():
            return Answers(network, test.output.model_copy(update=changes))(pixels).numpy()

    usual = rows(least=0.3)
    assert usual.shape == (8, 20, 6)
    assert (usual[..., 4] > 0).sum() > (rows(least=0.5)[..., 4] > 0).sum()
    assert (rows(iou=1.0, least=0.3)[..., 4] > 0).sum() > (usual[..., 4] > 0).sum()
    for image in usual:
        there = image[image[:, 4] > 0]
        for label in (0, 1):
            alike = there[there[:, 5] == label]
            assert (overlaps(alike, alike) - np.eye(len(alike)) <= 0.6 + 1e-6).all()
        assert (np.diff(image[:, 4]) <= 0).all()
        assert not image[len(there) :].any()


def test_the_endpoint_answers_in_pixels_of_the_image(line: Paths, signature: Signature, tmp_path: Path) -> None:
    """In the words of Hugging Face's object detection. What is served is what the trained model found, of every image
    of the test split: as many boxes, and where they were."""
    test = Boxed(line.prepared, "test")
    (output,) = signature.outputs
    assert isinstance(output, BoxesOutput)
    network = load(small_boxes.recipe().model, test.index, line.checkpoint)
    with torch.no_grad():
        found = [Answers(network, output)(torch.from_numpy(image[None]))[0].numpy() for image in test.inputs]
    dice = np.random.default_rng(5)
    image, _ = small_boxes.picture(dice)
    upright = Image.fromarray(image.astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned, out = upright.transpose(Image.Transpose.ROTATE_90), io.BytesIO()
    turned.save(out, "PNG", exif=exif)
    clear = Image.merge("RGBA", (*upright.split(), Image.new("L", upright.size, 255)))
    sixteen = np.full((64, 64), 23456, np.uint16)
    odd = {
        "1 x 1": small_boxes.png(np.full((1, 1, 3), 90)),
        "10,000 x 1": small_boxes.png(np.full((1, 10_000, 3), 90)),
        "1 x 10,000": small_boxes.png(np.full((10_000, 1, 3), 90)),
    }
    saved = {}
    for name, picture in (("alpha", clear), ("16 bits", Image.fromarray(sixteen)), ("plain", upright)):
        kept = io.BytesIO()
        picture.save(kept, "PNG")
        saved[name] = kept.getvalue()
    with start(line.bundle, port=0, log=tmp_path / "serve.log") as server:
        server.wait_ready()
        address = f"{server.url}/v1/models/shapes/predict"

        def ask(raw: bytes) -> httpx.Response:
            return httpx.post(address, content=raw, headers={"Content-Type": "image/png"}, timeout=30, trust_env=False)

        for number, rows in enumerate(found):
            answer = ask(test.raw(number)[0])
            height, width = test.size(number)
            assert answer.status_code == 200
            wanted = rows[rows[:, 4] >= output.threshold]
            given = rows_of(output, answer.json())
            assert len(given) == len(wanted), number
            np.testing.assert_allclose(given[:, :4], wanted[:, :4] * [width, height, width, height], atol=0.02)
            assert [output.labels[int(place)] for place in wanted[:, 5]] == [each["label"] for each in answer.json()]
        assert test.size(3) == (80, 96)  # the large one: its boxes reach beyond what the network sees
        for name, raw in odd.items():
            answer = ask(raw)
            assert answer.status_code == 200, name
            sides = [each["box"]["xmax"] for each in answer.json()]
            assert all(side <= (10_000 if name == "10,000 x 1" else 1) for side in sides)
        plain = ask(saved["plain"]).json()
        assert plain
        assert ask(saved["alpha"]).json() == plain
        assert ask(out.getvalue()).json() == plain  # turned as EXIF says
        assert ask(saved["16 bits"]).status_code == 200
        assert [ask(raw).status_code for raw in (b"no image", saved["plain"][:300])] == [400, 400]

        def with_threshold(value: Any) -> httpx.Response:
            import base64

            body = {"inputs": base64.b64encode(saved["plain"]).decode(), "parameters": {"threshold": value}}
            return httpx.post(address, json=body, timeout=30, trust_env=False)

        assert len(with_threshold(output.least).json()) >= len(plain)
        assert all(each["score"] >= 0.9 for each in with_threshold(0.9).json())
        for bad in (0.0, 1.5, "half", True):
            refused = with_threshold(bad)
            assert refused.status_code == 400, bad
            assert "threshold is a score from 0.05 to 1" in refused.json()["error"]["message"]
        described = httpx.get(f"{server.url}/openapi.json", timeout=30, trust_env=False).json()
        metrics = httpx.get(f"{server.url}/metrics", timeout=30, trust_env=False).text
    schema = described["paths"]["/v1/models/shapes/predict"]["post"]["responses"]["200"]
    assert "xmin" in str(schema)
    assert 'metroline_prediction_value_count{model="shapes",name="disc",output="boxes"' in metrics


def test_golden_items_tell_other_boxes(line: Paths, signature: Signature) -> None:
    (output,) = signature.outputs
    assert isinstance(output, BoxesOutput)
    item = next(item for item in golden.load(line.bundle, signature) if len(item.outputs["boxes"]))
    rows = rows_of(output, list(item.outputs["boxes"]))  # type: ignore[arg-type]
    rows = rows[rows[:, 4] >= output.threshold]
    assert len(rows)
    assert golden.compare(signature, item, {"boxes": rows[::-1]}) is None
    moved, other = rows.copy(), rows.copy()
    moved[0, 0] += 0.1
    other[0, 5] = 1 - other[0, 5]
    for wrong in (moved, other, rows[1:], np.concatenate([rows, np.add(rows[:1], [30, 30, 30, 30, 0, 0])])):
        assert "boxes are off" in str(golden.compare(signature, item, {"boxes": wrong}))
    with pytest.raises(MetrolineError, match="is no boxes of disc, square"):
        golden.answer(output, [{"label": "triangle", "score": 1, "box": {}}])


FILES = small_boxes.files(16)
WHOLE = small_boxes.voc("3.png", [("disc", 1, 1, 9, 9)], 96, 80)


@pytest.mark.parametrize(
    ("more", "changes", "problem"),
    [
        ({"images/99.png": FILES["images/1.png"]}, {}, "images/99.png: no file of boxes names it"),
        ({"boxes/3.xml": b"<annotation><"}, {}, "boxes/3.xml: cannot be read as VOC boxes"),
        ({"boxes/3.xml": b"<html></html>"}, {}, "boxes/3.xml: .*<html>"),
        ({"boxes/3.xml": WHOLE.replace(b"xmin", b"left")}, {}, ""),
        ({"boxes/3.xml": WHOLE.replace(b"<xmin>1<", b"<xmin>one<")}, {}, "boxes/3.xml: .*could not convert"),
        ({"boxes/3.xml": WHOLE.replace(b"disc", b"disk")}, {}, "boxes/3.xml: the label 'disk'.*did you mean disc"),
        ({"boxes/3.xml": small_boxes.voc("3.png", [], 80, 96)}, {}, "boxes/3.xml: says 80 x 96 pixels, but .* 96 x 80"),
        ({"boxes/b.xml": WHOLE}, {}, "3.png has boxes in boxes/3.xml and in boxes/b.xml"),
        ({"boxes/c.json": b"[]"}, {}, "boxes/c.json: cannot be read as COCO boxes"),
        ({"boxes/c.json": b'{"images": [], "categories": []}'}, {}, "boxes/c.json: .*no 'annotations'"),
        ({"images/3.png": b"GIF89a"}, {}, "images/3.png: .*GIF"),
        ({}, {"split": {"method": "given", "given": {"test": "/99"}}}, "test"),
        ({}, {"data": {"images": "pictures/*"}}, "no fetched image matches 'pictures/\\*'"),
        ({}, {"data": {"boxes": "labels/*"}}, "no fetched file of boxes"),
        ({}, {"data": {"lists": "sets/*"}}, "no fetched file matches 'sets/\\*'"),
        ({"s/train.txt": b"1\n2", "s/test.txt": b"2"}, {"data": {"lists": "s/*"}}, "2 is in the lists test and train"),
    ],
)
def test_what_is_no_image_with_boxes(
    tmp_path: Path, more: dict[str, bytes], changes: dict[str, Any], problem: str
) -> None:
    write_raw(tmp_path / "raw", FILES | more)
    made = small_boxes.recipe()
    data = made.data.model_copy(update=changes.get("data", {}))
    made = made.model_copy(
        update={"data": data, **({"split": small_boxes.recipe(**changes).split} if "split" in changes else {})}
    )
    prepare = kinds.task("detection")(made).prepare
    if not problem:  # a box without a side is one that is none
        prepare(tmp_path / "raw", tmp_path / "out", None)
        assert read_json(tmp_path / "out" / "index.json")["splits"]["test"]["dropped"]["no number"] == 1
        return
    with pytest.raises(MetrolineError, match=problem):
        prepare(tmp_path / "raw", tmp_path / "out", None)


def test_lists_say_the_split(tmp_path: Path) -> None:
    """What is in none of them is left out; the lists name images without their endings, as VOC's do."""
    lists = {"sets/train.txt": b"10\n11\n12 1\n", "sets/val.txt": b"13\n", "sets/test.txt": b"0\n3\n"}
    write_raw(tmp_path / "raw", FILES | lists)
    made = small_boxes.recipe(
        data={"kind": "image-boxes", "labels": small_boxes.LABELS, "lists": "sets/*"},
        split={"method": "given", "by": "list", "given": {"train": "train", "valid": "val", "test": "test"}},
    )
    kinds.task("detection")(made).prepare(tmp_path / "raw", tmp_path / "out", None)
    splits = read_json(tmp_path / "out" / "index.json")["splits"]
    assert {name: each["records"] for name, each in splits.items()} == {"train": 3, "valid": 1, "test": 2}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"split": {"method": "given", "by": "city"}}, "split.by: city is no column"),
        ({"data": {"kind": "image-boxes", "labels": ["a"], "lists": "x/*"}}, "data.lists: only split.by"),
        ({"split": {"method": "group", "group": "city"}}, "split: images with boxes have no time"),
    ],
)
def test_sections_that_contradict_each_other(changes: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in problems(small_boxes.recipe(**changes)))


def test_a_network_that_cannot(line: Paths) -> None:
    index = read_json(line.prepared / "index.json")
    with pytest.raises(MetrolineError, match="mlp gives no boxes"):
        build(small_boxes.recipe(model={"kind": "mlp"}).model, index, torch.Generator())
    with pytest.raises(MetrolineError, match="must be multiples of 128"):
        build(small_boxes.recipe(model={"kind": "fcos", "widths": [2] * 7}).model, index, torch.Generator())
    with pytest.raises(MetrolineError, match=r"model\.halvings: 9, but there are 5"):
        build(small_boxes.recipe(model={"kind": "fcos", "halvings": 9}).model, index, torch.Generator())
