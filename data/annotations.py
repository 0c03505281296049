"""Boxes around things in images, as two formats of files give them: Pascal VOC's XML, one an image, and COCO's JSON,
one for many.

    found = read_boxes({"a.xml": ..., "instances_train.json": ...})     # image's file name → Annotated

Coordinates are pixels of the image, from its upper left corner; a box that is none is not read past: it is kept as it
stands, and `problem` says what is wrong with it.
"""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from base.errors import MetrolineError

SUFFIXES = (".xml", ".json")
Box = tuple[str, float, float, float, float]
"""Label, x1, y1, x2, y2."""


@dataclass
class Annotated:
    """What a file says of one image."""

    place: str
    """The file."""
    size: tuple[int, int] = (0, 0)
    """Width and height as the file has them; 0: it says none."""
    boxes: list[Box] = field(default_factory=list)


def read_boxes(files: Mapping[str, Callable[[], bytes]]) -> dict[str, Annotated]:
    """File name of each image, with its folders where the file tells them → its boxes. `files`: name → its bytes.

    Raises MetrolineError, which names the file: damaged, another format, one image in two of them.
    """
    found: dict[str, Annotated] = {}
    for name, content in files.items():
        read = _voc if PurePosixPath(name).suffix.lower() == ".xml" else _coco
        try:
            images = read(name, content())
        except MetrolineError:
            raise
        except (ET.ParseError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            words = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:150]
            raise MetrolineError(
                f"{name}: cannot be read as {'VOC' if read is _voc else 'COCO'} boxes: {words}",
                hint="see docs/detection.md",
            ) from None
        for image, each in images.items():
            if (first := found.setdefault(image, each)) is not each:
                raise MetrolineError(f"{image} has boxes in {first.place} and in {name}", hint="leave one of them out")
    return found


def problem(box: Box, width: int, height: int) -> str | None:
    """Why this is no box in an image of that size, in words; None: it is one, after `inside`."""
    _, x1, y1, x2, y2 = box
    if not all(abs(value) < 1e9 for value in box[1:]):  # also not a number
        return "no number"
    if x2 <= x1 or y2 <= y1:
        return "no area"
    return "outside the image" if min(x2, width) <= max(x1, 0) or min(y2, height) <= max(y1, 0) else None


def inside(box: Box, width: int, height: int) -> Box:
    """The part of a box that is in the image."""
    label, x1, y1, x2, y2 = box
    return label, max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))


def _voc(name: str, content: bytes) -> dict[str, Annotated]:
    root = ET.fromstring(content)
    if root.tag != "annotation":
        raise ValueError(f"it begins with <{root.tag}>, not with <annotation>")
    image = (root.findtext("filename") or "").strip() or PurePosixPath(name).stem
    size = [int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height")]
    found = Annotated(name, (size[0], size[1]))
    for each in root.iter("object"):
        label, box = each.findtext("name"), each.find("bndbox")
        if not label or box is None:
            raise ValueError("an <object> without <name> or <bndbox>")
        x1, y1, x2, y2 = (float(box.findtext(side) or "nan") for side in ("xmin", "ymin", "xmax", "ymax"))
        found.boxes.append((label.strip(), x1, y1, x2, y2))
    return {image: found}


def _coco(name: str, content: bytes) -> dict[str, Annotated]:
    whole: Any = json.loads(content)
    labels = {each["id"]: str(each["name"]) for each in whole["categories"]}
    images = {each["id"]: each for each in whole["images"]}
    found = {
        number: Annotated(name, (int(each.get("width") or 0), int(each.get("height") or 0)))
        for number, each in images.items()
    }
    for each in whole["annotations"]:
        if each.get("iscrowd"):  # a region of many, which no box stands for
            continue
        x, y, width, height = map(float, each["bbox"])
        found[each["image_id"]].boxes.append((labels[each["category_id"]], x, y, x + width, y + height))
    named = {str(images[number]["file_name"]): each for number, each in found.items()}
    if len(named) < len(found):
        raise ValueError("two images have one file_name")
    return named
