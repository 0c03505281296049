"""Own images in folders, one a class: classification."""

from pathlib import Path

from base.errors import MetrolineError
from data.fetch.own_files import OwnFiles, own_files
from data.folders import IMAGES
from pipelines.recipe.own.by_folder import classes
from pipelines.recipe.own.found import Found, shown_counts, split_of, trained_on

LOOKED_AT = 64
"""Images whose size and colours are looked at."""
SIDE = 64
"""Largest side that the network sees unless the recipe says more."""
GREY = ("1", "L", "LA", "I", "I;16", "I;16B")


def look(data: Path, name: str) -> Found:
    """A classifier of the images. Raises MetrolineError: one in no folder, fewer than two classes, one that is none."""
    own = own_files(data, "**/*", name=name, suffixes=IMAGES)
    counts = classes(data, own, "image")
    height, width, channels = looks(own, SIDE)
    values = {
        "subject": "your own images by class",
        "task": "{kind: classification}",
        "split": split_of(str(own.name(file)) for file in own.files),
        "height": str(height),
        "width": str(width),
        "channels": str(channels),
        "shift": str(min(height, width) // 16),
        "gate": "test.accuracy >= 0.9",
        "floor": "always the commonest class",
        **trained_on(len(own.files)),
    }
    kind = "grey" if channels == 1 else "colour"
    said = f"{len(counts):,} classes of {kind} images, seen at {width} x {height}: {shown_counts(counts)}"
    return Found(own, IMAGES, f"{said} → classification", "images", values)


def looks(own: OwnFiles, most: int) -> tuple[int, int, int]:
    """Height and width for the network and its channels: the images' own where they agree and are small."""
    from PIL import Image

    sizes, grey = set(), True
    for file in own.files[:: max(1, len(own.files) // LOOKED_AT)]:
        try:
            with Image.open(file, formats=("JPEG", "PNG")) as image:
                sizes.add((image.height, image.width))
                grey = grey and image.mode in GREY
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise MetrolineError(f"{file}: cannot be read as JPEG or PNG", hint="mend or remove it") from None
    height, width = sizes.pop() if len(sizes) == 1 else (most, most)
    if max(height, width) > most:
        height, width = (max(1, round(side * most / max(height, width))) for side in (height, width))
    return height, width, 1 if grey else 3
