"""`metroline init` on a folder of images with boxes: what it says, and a recipe that prepares."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from base.errors import MetrolineError
from base.files import read_json
from pipelines.line.stages import STAGES
from pipelines.paths import Paths
from pipelines.recipe.new import create
from pipelines.recipe.own.look import look
from pipelines.recipe.schema import Recipe
from tests.pipelines.tasks.detection import small_boxes


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, as the working folder."""
    (tmp_path / "project/pipelines/recipes").mkdir(parents=True)
    (tmp_path / "project/params.yaml").write_text("recipes:\n")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def coco(names: list[str]) -> bytes:
    """One cat an image."""
    images: list[dict[str, Any]] = [{"id": place, "file_name": name} for place, name in enumerate(names)]
    boxes = [{"image_id": place, "category_id": 1, "bbox": [4, 4, 20, 20]} for place in range(len(names))]
    whole = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    return json.dumps(whole).encode()


def prepared(name: str, data: Path, root: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe that init writes, and what prepare makes of the data."""
    path, _ = create(name, data, root)
    recipe, paths = Recipe.of(yaml.safe_load(path.read_text()) | {"name": name}), Paths(name, root)
    for stage in ("fetch", "prepare"):
        STAGES[stage].function(recipe, paths)
    return recipe, read_json(paths.prepared / "index.json")["splits"]


def test_pascal_voc(root: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "shapes", small_boxes.files(30))
    found = look(data, "shapes", None, None)
    assert found.said == "30 images with boxes, seen at 320 x 320: disc 44, square 18 → detection"
    assert look(data, "shapes", None, "detection").said == found.said
    recipe, splits = prepared("shapes", data, root)
    assert recipe.task.kind == "detection"
    assert recipe.data.labels == small_boxes.LABELS
    assert sum(each["records"] for each in splits.values()) == 30
    assert sum(sum(each["dropped"].values()) for each in splits.values()) == 3


def test_coco_with_a_file_for_each_split(root: Path, tmp_path: Path) -> None:
    """The files' names tell the split of the images that they are of."""
    pictures = [name for name in small_boxes.files(12) if name.endswith(".png")]
    files = {
        name.replace("images/", ""): content for name, content in small_boxes.files(12).items() if name in pictures
    }
    names = list(files)
    files |= {f"annotations/instances_{split}.json": coco(some)
              for split, some in (("train", names[:8]), ("val", names[8:10]), ("test", names[10:]))}  # fmt: skip
    recipe, splits = prepared("cats", write(tmp_path / "cats", files), root)
    assert {name: each["records"] for name, each in splits.items()} == {"train": 8, "valid": 2, "test": 2}
    assert recipe.split.by == "list"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.xml": small_boxes.voc("a.png", [])}, "no image"),
        ({"a.png": b""}, r"no file of boxes \(.xml, .json\)"),
        ({"a.png": b"", "a.xml": b"<a>"}, "a.xml: cannot be read as VOC boxes"),
        ({"a.png": b"", "a.xml": small_boxes.voc("a.png", [])}, "no box in 1 files"),
    ],
)
def test_what_is_no_folder_of_boxes(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(MetrolineError, match=said):
        look(write(tmp_path / "x", files), "x", None, "detection")


def test_other_files_beside_images_in_folders_of_their_label_are_no_boxes(tmp_path: Path) -> None:
    """Still classification, as without them."""
    picture = next(content for name, content in small_boxes.files(1).items() if name.endswith(".png"))
    files = {f"{label}/{number}.png": picture for label in ("cat", "dog") for number in range(3)}
    found = look(write(tmp_path / "pets", files), "pets", None, None)
    assert found.said.endswith("classification")
    write(tmp_path / "pets", {"about.json": b'{"licence": "none"}', ".idea/workspace.xml": b"<project/>"})
    assert look(tmp_path / "pets", "pets", None, None).said == found.said
