"""Images and their masks → records of three splits, with the signature and the scale of pixels on train."""

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base.errors import BadItem, MetrolineError
from base.files import atomic_folder
from base.progress import Progress
from data import assign, leaks
from data.codecs import decode
from data.fetch.fetched import File, fetched_members
from data.masks import by_stem, decode_mask
from data.records import RecordWriter, write_index
from data.signature import ImageInput, MaskOutput, Signature
from data.split import SPLITS
from pipelines.tasks.supervised.examples import resized

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def prepare(recipe: "Recipe", raw: Path, out: Path) -> None:
    """Fill the folder `out`. Raises MetrolineError, which names the file: an image without a mask, a mask of another
    size or with a value that is no label's, an empty split, an image in two splits."""
    data = recipe.data
    files = fetched_members(raw)
    pairs = _pairs(files, data.images, data.masks)
    height, width = data.height, data.width
    declared = ImageInput(name="image", shape=(height, width, data.channels), height=height, width=width,
                          channels=data.channels)  # fmt: skip
    labels = tuple(data.labels)
    output = MaskOutput(name="mask", shape=(len(labels), height, width), labels=labels)
    items = [assign.Item(name, assign.digest(files[name].read_bytes())) for name in pairs]
    splits = leaks.drop_duplicates(items, assign.assign(items, recipe.split), recipe.split)
    total, squares, count = np.zeros(data.channels), np.zeros(data.channels), 0
    with atomic_folder(out) as folder, Progress("prepare", len(items), "images") as progress:
        writers = []
        for split in SPLITS:
            with RecordWriter(folder, split, target="bytes") as writer:
                for item, where in zip(items, splits, strict=True):
                    if where != split:
                        continue
                    content, mask = files[item.id].read_bytes(), files[pairs[item.id]].read_bytes()
                    image = _checked(declared, item.id, content, pairs[item.id], mask, data.labels)
                    writer.add(item.id, {"input": content}, mask)
                    progress.update(advance=1)
                    if split == "train":
                        pixels = resized(declared, [image])[0].astype(np.float64)
                        total, squares = total + pixels.sum((0, 1)), squares + (pixels**2).sum((0, 1))
                        count += pixels.shape[0] * pixels.shape[1]
            writers.append(writer)
            if not writer.entry["records"]:
                raise MetrolineError(
                    f"the {split} split has no image", hint=f"{len(items)} were read; see section split"
                )
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        fitted = {"mean": mean.tolist(), "std": np.where(std > 1e-6, std, 1.0).tolist()}
        signature = Signature(task="image-segmentation", inputs=(declared,), outputs=(output,))
        write_index(folder, writers, signature=signature.model_dump(mode="json"), fitted=fitted)


def _pairs(files: Mapping[str, File], images: str, masks: str) -> dict[str, str]:
    """Image → its mask, by the file's name without its ending. Raises MetrolineError: no image, one without a mask, two
    of one name."""
    found = by_stem(name for name in files if fnmatch.fnmatchcase(name, masks))
    taken = set(found.values())
    wanted = by_stem(name for name in files if fnmatch.fnmatchcase(name, images) and name not in taken)
    if not wanted:
        raise MetrolineError(f"no fetched file matches {images!r}", hint=f"there are: {', '.join([*files][:3])}")
    for stem, name in wanted.items():
        if stem not in found:
            raise MetrolineError(f"{name}: no mask of this name matches {masks!r}", hint="see data.masks")
    return {name: found[stem] for stem, name in wanted.items()}


def _checked(
    declared: ImageInput, name: str, content: bytes, mask_name: str, mask: bytes, labels: Mapping[str, int]
) -> np.ndarray:
    """The image of a pair that fits together."""
    place = name
    try:
        image = decode(declared, content)
        place = mask_name
        size = decode_mask(mask, labels).shape
    except BadItem as error:
        raise MetrolineError(f"{place}: {error}", hint=error.hint or "mend or remove it") from None
    if size != image.shape[:2]:
        shown = f"{size[1]} x {size[0]} pixels, and its image {image.shape[1]} x {image.shape[0]}"
        raise MetrolineError(f"{mask_name}: {shown}", hint="they must be of the same size")
    return image
