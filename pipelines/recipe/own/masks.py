"""Own images with a mask each: segmentation."""

import re
from pathlib import Path, PurePosixPath

from base.errors import MetrolineError
from base.yaml_files import quoted
from data.fetch.own_files import OwnFiles, own_files
from data.folders import IMAGES
from data.masks import by_stem
from pipelines.recipe.own.found import Found, split_of
from pipelines.recipe.own.images import looks

MASKS = re.compile(r"mask|label|annotation|ground.?truth|segment", re.IGNORECASE)
"""What the name of a folder of masks has in it."""
SIDE, MULTIPLE = 256, 8
"""Largest side that the network sees unless the recipe says more, and what both sides are multiples of."""
LABELS = 20
"""Most grey values of masks."""
LAYOUT = "an image and its mask have one name: FOLDER/images/1.png, FOLDER/masks/1.png"


def has_masks(names: list[PurePosixPath]) -> bool:
    """Whether images lie in two folders of which one is of masks."""
    folders = {path.parent.name for path in names}
    return len(folders) == 2 and sum(bool(MASKS.search(each)) for each in folders) == 1


def look(data: Path, name: str) -> Found:
    """A segmenter. Raises MetrolineError: other folders, an image without a mask, two of one name, masks
    of too many grey values."""
    own = own_files(data, "**/*", name=name, suffixes=IMAGES)
    names = [own.name(file) for file in own.files]
    if not has_masks(names):
        raise MetrolineError(f"{data}: no folder of images beside one of masks", hint=LAYOUT)
    files = {str(path): file for path, file in zip(names, own.files, strict=True)}
    masks, images = (
        {stem: files[name] for stem, name in by_stem(map(str, those)).items()}
        for those in (
            [path for path in names if MASKS.search(path.parent.name)],
            [path for path in names if not MASKS.search(path.parent.name)],
        )
    )
    if alone := sorted(images.keys() - masks.keys()):
        raise MetrolineError(f"{own.name(images[alone[0]])}: no mask of this name", hint=LAYOUT)
    grey = _values(masks)
    height, width, channels = looks(OwnFiles(own.root, [*images.values()], own.left_out), SIDE)
    height, width = (max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in (height, width))
    folders = {kind: own.name(some[min(some)]).parent.name for kind, some in (("i", images), ("m", masks))}
    square = min(height, width) // 2 // MULTIPLE * MULTIPLE
    values = {
        "subject": "your own images with masks",
        "images": quoted(f"*{folders['i']}/*"),
        "masks": quoted(f"*{folders['m']}/*"),
        "labels": "{" + ", ".join(f"grey-{value}: {value}" for value in grey) + "}",
        "height": str(height), "width": str(width), "channels": str(channels), "crop": str(square),
        "split": split_of(str(own.name(file)) for file in images.values()),
        "batch": str(max(1, min(8, len(images) // 2))),
        "gate": "test.mean_iou >= 0.7", "floor": "the best border of brightness",
    }  # fmt: skip
    shown = ", ".join(map(str, grey))
    said = f"{len(images):,} images with masks of the grey values {shown}, seen at {width} x {height} → segmentation"
    return Found(own, IMAGES, said, "masks", values)


def _values(masks: dict[str, Path]) -> list[int]:
    """The grey values of the masks, rising."""
    from PIL import Image

    found: set[int] = set()
    for file in masks.values():
        try:
            with Image.open(file, formats=("PNG",)) as image:
                found |= {value for _, value in image.convert("L").getcolors() or ()}  # type: ignore[misc]
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise MetrolineError(
                f"{file}: cannot be read as PNG", hint="masks are PNG: other forms blur them"
            ) from None
        if len(found) > LABELS:
            raise MetrolineError(f"{file}: masks of more than {LABELS} grey values", hint="a grey value is a label")
    if len(found) < 2:
        raise MetrolineError(
            f"the masks have one grey value only: {min(found, default=0)}", hint="nothing to tell apart"
        )
    return sorted(found)
