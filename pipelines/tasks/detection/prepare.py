"""Images and their boxes → records of three splits, with the signature and the scale of pixels on train."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from base.errors import BadItem, MetrolineError, nearest
from base.files import atomic_folder
from base.progress import Progress
from data import assign, leaks
from data.annotations import SUFFIXES, Annotated, Box, inside, problem, read_boxes
from data.codecs import decode
from data.fetch.fetched import File, fetched_members
from data.fetch.own_files import has_suffix
from data.folders import IMAGES
from data.records import RecordWriter, write_index
from data.signature import BoxesOutput, ImageInput, Signature
from data.split import SPLITS
from pipelines.tasks.supervised.examples import resized

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

LIST = "list"
"""The column of `split.by` that says in which list an image is."""


@dataclass(frozen=True)
class Image:
    """An image with what is known of it."""

    name: str
    file: File
    boxes: Annotated


def prepare(recipe: "Recipe", raw: Path, out: Path) -> None:
    """Fill the folder `out`. Boxes that are none are left out and counted, with the reason. Raises MetrolineError,
    which names the file: an image without boxes or of another size than they say, an unknown label, an empty split."""
    data, task = recipe.data, recipe.task
    files = fetched_members(raw)
    images = _images(files, data.images, data.boxes)
    lists = _lists(files, data.lists) if data.lists else {}
    items = []
    for each in images:
        where = lists.get(PurePosixPath(each.name).stem) if lists else PurePosixPath(each.boxes.place).stem
        meta = {LIST: where} if where is not None else {}
        items.append(assign.Item(each.name, assign.digest(each.file.read_bytes()), meta))
    if lists:  # what is in no list belongs to no split
        listed = [bool(item.meta) for item in items]
        items, images = ([each for each, kept in zip(some, listed, strict=True) if kept] for some in (items, images))  # type: ignore[assignment]
    splits = leaks.drop_duplicates(items, assign.assign(items, recipe.split), recipe.split)
    declared = ImageInput(name="image", shape=(data.height, data.width, data.channels), height=data.height,
                          width=data.width, channels=data.channels)  # fmt: skip
    scale = _Scale(data.channels)
    with atomic_folder(out) as folder, Progress("prepare", len(items), "images") as progress:
        writers = []
        for split in SPLITS:
            with RecordWriter(folder, split, target="vector") as writer:
                for image, where in zip(images, splits, strict=True):
                    if where != split:
                        continue
                    pixels, content = _decoded(declared, image)
                    boxes = _kept(image, pixels.shape[1], pixels.shape[0], data.labels, writer)
                    writer.add(image.name, {"input": content}, boxes)
                    progress.update(advance=1)
                    if split == "train":
                        scale.add(resized(declared, [pixels])[0])
            writers.append(writer)
            if not writer.entry["records"]:
                raise MetrolineError(
                    f"the {split} split has no image", hint=f"{len(items)} were read; see section split"
                )
        output = BoxesOutput(name="boxes", shape=(task.most, 6), labels=data.labels, iou=task.iou, least=task.least,
                             threshold=max(0.5, task.least))  # fmt: skip
        signature = Signature(task="object-detection", inputs=(declared,), outputs=(output,))
        write_index(folder, writers, signature=signature.model_dump(mode="json"), fitted=scale.fitted())


class _Scale:
    """Mean and spread of each channel."""

    def __init__(self, channels: int) -> None:
        self.total, self.squares, self.count = np.zeros(channels), np.zeros(channels), 0

    def add(self, image: np.ndarray) -> None:
        """Count an image [H, W, C]."""
        pixels = image.astype(np.float64)
        self.total, self.squares = self.total + pixels.sum((0, 1)), self.squares + (pixels**2).sum((0, 1))
        self.count += pixels.shape[0] * pixels.shape[1]

    def fitted(self) -> dict[str, list[float]]:
        """What it is."""
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        return {"mean": mean.tolist(), "std": np.where(std > 1e-6, std, 1.0).tolist()}


def _images(files: Mapping[str, File], images: str, boxes: str) -> list[Image]:
    """All images with the boxes of each, sorted by name. Raises MetrolineError: none, one without boxes."""
    wanted = [name for name in files if has_suffix(name, IMAGES) and fnmatch.fnmatchcase(name, images)]
    sources = {name: partial(_bytes, file) for name, file in files.items()
               if has_suffix(name, SUFFIXES) and fnmatch.fnmatchcase(name, boxes)}  # fmt: skip
    if not wanted or not sources:
        what = f"image matches {images!r}" if not wanted else f"file of boxes (.xml, .json) matches {boxes!r}"
        raise MetrolineError(f"no fetched {what}", hint=f"there are: {', '.join([*files][:3])}")
    said = read_boxes(sources)
    found = []
    for name in wanted:
        path = PurePosixPath(name)
        keys = (name, *(str(PurePosixPath(*path.parts[at:])) for at in range(1, len(path.parts))), path.stem)
        each = next((said[key] for key in keys if key in said), None)
        if each is None:
            raise MetrolineError(
                f"{name}: no file of boxes names it", hint="leave it out by data.images, or add a file with no box"
            )
        found.append(Image(name, files[name], each))
    return found


def _lists(files: Mapping[str, File], pattern: str) -> dict[str, str]:
    """An image's name without folders and ending → the list that it is in."""
    found: dict[str, str] = {}
    for name, file in files.items():
        if not fnmatch.fnmatchcase(name, pattern):
            continue
        for line in file.read_bytes().decode("utf-8", "replace").splitlines():
            image, stem = line.split(), PurePosixPath(name).stem
            if image and found.setdefault(PurePosixPath(image[0]).stem, stem) != stem:
                raise MetrolineError(f"{image[0]} is in the lists {found[PurePosixPath(image[0]).stem]} and {stem}")
    if not found:
        raise MetrolineError(f"no fetched file matches {pattern!r}", hint="see data.lists")
    return found


def _bytes(file: File) -> bytes:
    return file.read_bytes()


def _decoded(declared: ImageInput, image: Image) -> tuple[np.ndarray, bytes]:
    """Pixels and bytes. Raises MetrolineError: not to be read, of another size than its boxes are of."""
    content = image.file.read_bytes()
    try:
        pixels = decode(declared, content)
    except BadItem as error:
        raise MetrolineError(f"{image.name}: {error}", hint=error.hint or "mend or remove it") from None
    width, height = image.boxes.size
    if width and height and (height, width) != pixels.shape[:2]:
        raise MetrolineError(
            f"{image.boxes.place}: says {width} x {height} pixels, but {image.name} has {pixels.shape[1]} x "
            f"{pixels.shape[0]}", hint="boxes must be of the image as it is seen, turned as its EXIF says",
        )  # fmt: skip
    return pixels, content


def _kept(image: Image, width: int, height: int, labels: tuple[str, ...], writer: RecordWriter) -> list[float]:
    """The boxes that are some, in fractions of the sides, five numbers each: x1, y1, x2, y2, the label's place."""
    found: list[float] = []
    seen: set[Box] = set()
    for number, box in enumerate(image.boxes.boxes):
        if box[0] not in labels:
            raise MetrolineError(f"{image.boxes.place}: the label {box[0]!r}", hint=nearest(box[0], labels))
        if why := problem(box, width, height) or ("twice" if box in seen else None):
            writer.drop(
                f"{image.boxes.place} box {number}", why, f"{box[0]} {' '.join(f'{side:g}' for side in box[1:])}"
            )
            continue
        seen.add(box)
        label, x1, y1, x2, y2 = inside(box, width, height)
        found += [x1 / width, y1 / height, x2 / width, y2 / height, labels.index(label)]
    return found
