"""Boxes in Pascal VOC's XML and COCO's JSON."""

import json
from pathlib import PurePosixPath

import pytest

from base.errors import MetrolineError
from data.annotations import inside, problem, read_boxes

VOC = b"""<annotation><filename>a.jpg</filename><size><width>64</width><height>48</height></size>
<object><name> cat </name><bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>dog</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>5</xmax><ymax>9</ymax></bndbox></object></annotation>"""
COCO = {
    "images": [{"id": 7, "file_name": "a.jpg", "width": 64, "height": 48}, {"id": 8, "file_name": "deep/b.jpg"}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "bbox": [1, 2.5, 29, 37.5]},
        {"image_id": 7, "category_id": 1, "bbox": [5, 5, 0, 4]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1},
    ],
}


def test_both_forms_say_the_same() -> None:
    """Labels by their names, whatever the numbers of COCO's categories."""
    (voc,) = read_boxes({"x/a.xml": lambda: VOC}).values()
    coco = read_boxes({"train.json": lambda: json.dumps(COCO).encode()})
    assert voc.boxes == coco["a.jpg"].boxes == [("cat", 1, 2.5, 30, 40), ("dog", 5, 5, 5, 9)]
    assert voc.size == coco["a.jpg"].size == (64, 48)
    assert (coco["deep/b.jpg"].boxes, coco["deep/b.jpg"].size) == ([], (0, 0))


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((1, 1, 9, 9), None),
        ((-4, -4, 9, 9), None),
        ((60, 40, 99, 99), None),
        ((9, 1, 9, 9), "no area"),
        ((9, 1, 1, 9), "no area"),
        ((70, 1, 80, 9), "outside the image"),
        ((1, -9, 9, 0), "outside the image"),
        ((float("nan"), 1, 9, 9), "no number"),
        ((1, 1, float("inf"), 9), "no number"),
    ],
)
def test_what_is_a_box(box: tuple[float, float, float, float], wanted: str | None) -> None:
    assert problem(("cat", *box), 64, 48) == wanted
    if wanted is None:
        _, x1, y1, x2, y2 = inside(("cat", *box), 64, 48)
        assert 0 <= x1 < x2 <= 64
        assert 0 <= y1 < y2 <= 48


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xml", b"", "cannot be read as VOC boxes: no element found"),
        ("a.xml", b"<annotation><object><name>cat</name></object></annotation>", "without <name> or <bndbox>"),
        ("a.json", b"{", "cannot be read as COCO boxes"),
        ("a.json", json.dumps(COCO | {"categories": []}).encode(), "no 3"),
        ("a.json", json.dumps(COCO | {"images": []}).encode(), "no 7"),
        ("a.json", json.dumps(COCO | {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1]}]}).encode(),
         "COCO"),
        ("a.json", json.dumps(COCO | {"images": [{"id": 7, "file_name": "a"}, {"id": 8, "file_name": "a"}]}).encode(),
         "two images have one file_name"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_boxes(name: str, content: bytes, said: str) -> None:
    with pytest.raises(MetrolineError, match=said) as caught:
        read_boxes({name: lambda: content})
    assert str(caught.value).startswith(str(PurePosixPath(name)))


def test_one_image_in_two_files() -> None:
    with pytest.raises(MetrolineError, match=r"a\.jpg has boxes in a\.xml and in b\.xml"):
        read_boxes({"a.xml": lambda: VOC, "b.xml": lambda: VOC})
