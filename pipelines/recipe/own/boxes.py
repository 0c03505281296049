"""Own images with boxes, in Pascal VOC's XML or COCO's JSON: detection."""

import json
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath

from base.errors import MetrolineError
from data.annotations import SUFFIXES, read_boxes
from data.assign import WORD
from data.fetch.own_files import OwnFiles, has_suffix, own_files
from data.folders import IMAGES
from pipelines.recipe.own.found import Found, shown_counts, split_of, trained_on
from pipelines.recipe.own.images import looks

SIDE, MULTIPLE = 320, 32
"""Largest side that the network sees unless the recipe says more, and what both sides are multiples of."""

MARKS = {".xml": b"<annotation", ".json": b'"annotations"'}
"""What a file of boxes has in it."""


def has_boxes(data: Path) -> bool:
    """Whether an .xml or .json file in the folder has annotations of images, and not something else about them."""
    there = (path for path in data.rglob("*") if has_suffix(path.name, SUFFIXES) and path.is_file())
    return data.is_dir() and any(MARKS[path.suffix.lower()] in path.read_bytes() for path in there)


def look(data: Path, name: str) -> Found:
    """A detector. Raises MetrolineError: no image, no file of boxes, one that cannot be read, no box in any."""
    own = own_files(data, "**/*", name=name, suffixes=(*IMAGES, *SUFFIXES))
    images = OwnFiles(own.root, [file for file in own.files if has_suffix(file.name, IMAGES)], own.left_out)
    sources = {str(own.name(file)): file for file in own.files if has_suffix(file.name, SUFFIXES)}
    if not images.files or not sources:
        what = "image" if not images.files else "file of boxes (.xml, .json)"
        raise MetrolineError(f"{data}: no {what}", hint="see docs/detection.md for what detection reads")
    said = read_boxes({place: partial(Path.read_bytes, file) for place, file in sources.items()})
    counts = Counter(box[0] for each in said.values() for box in each.boxes)
    if not counts:
        raise MetrolineError(f"{data}: no box in {len(sources):,} files", hint="there is nothing to find")
    height, width, channels = looks(images, SIDE)
    height, width = (max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in (height, width))
    split = split_of(str(images.name(file)) for file in images.files)
    lists = {PurePosixPath(each.place).stem for each in said.values()}
    if "method: hash" in split and len(lists) > 1 and all(WORD.search(each) for each in lists):
        split = "{method: given, by: list, valid: 0.10, duplicates: drop} # as the names of the files with boxes tell"
    values = {
        "subject": "your own images with boxes",
        "labels": json.dumps(sorted(counts), ensure_ascii=False),
        "height": str(height), "width": str(width), "channels": str(channels),
        "split": split, "batch": str(max(1, min(8, len(images.files) // 4))),
        "gate": "test.map50 >= 0.5", "floor": "blobs of colour",
        **trained_on(10 * len(images.files)),
    }  # fmt: skip
    told = f"{len(images.files):,} images with boxes, seen at {width} x {height}: {shown_counts(counts)} → detection"
    return Found(own, (*IMAGES, *SUFFIXES), told, "boxes", {key: str(value) for key, value in values.items()})
