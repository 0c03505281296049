"""Masks: a label for each pixel, as PNG files of grey values and as answers by label.

An answer is what Hugging Face's image segmentation says, [{"label", "score", "mask"}] with a PNG in base64, white where
the label is the likeliest, and beside it `area`, the share of the pixels.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import BadItem, MetrolineError
from data.signature import MaskOutput

GRID = 16
"""Cells to each side by which two masks are compared: the borders of two runtimes may differ by a pixel."""
Mask = npt.NDArray[np.uint8]


def decode_mask(raw: bytes, values: Mapping[str, int]) -> Mask:
    """A PNG of grey values → uint8 [H, W] of the labels' places. `values`: label → its grey value.

    Raises BadItem: no PNG, a value that no label has.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(raw), formats=("PNG",)) as image:
            grey = np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadItem(f"not a PNG that can be read: {' '.join(str(error).split())[:100]}") from None
    places = np.full(256, 255, np.uint8)
    places[list(values.values())] = np.arange(len(values))
    found: Mask = places[grey]
    if (found == 255).any():
        odd = int(grey[found == 255][0])
        raise BadItem(f"a pixel has the value {odd}, which is no label's", hint=f"labels: {dict(values)}")
    return found


def by_stem(names: Iterable[str]) -> dict[str, str]:
    """A file's name without folders and ending, by which images find their masks → its path. Raises MetrolineError: two
    files have one."""
    found: dict[str, str] = {}
    for name in names:
        if (first := found.setdefault(PurePosixPath(name).stem, name)) != name:
            raise MetrolineError(f"{first} and {name} have one name", hint="a mask is found by the name of its image")
    return found


def nearest(mask: Mask, height: int, width: int) -> Mask:
    """A mask in another size, each pixel that of the nearest point."""
    rows = (np.arange(height) * 2 + 1) * mask.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * mask.shape[1] // (2 * width)
    return mask[rows[:, None], columns]


def by_label(output: MaskOutput, array: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """Probabilities [labels, H, W] → the answer. `score`: the mean probability where the label is the likeliest."""
    likeliest, answer = array.argmax(0), []
    for place, label in enumerate(output.labels):
        there = likeliest == place
        score = float(array[place][there].mean()) if there.any() else 0.0
        mask = base64.b64encode(_png(np.where(there, 255, 0).astype(np.uint8))).decode()
        answer.append({"label": label, "score": score, "area": float(there.mean()), "mask": mask})
    return answer


def shares(output: MaskOutput, value: Any) -> npt.NDArray[np.float64]:
    """How much of each of GRID x GRID cells each label has [labels, cells]. `value`: probabilities [labels, H, W], the
    answer, or these shares. Raises KeyError, TypeError, ValueError: it is something else."""
    if isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
        masks = {each["label"]: _white(each["mask"]) for each in value}
        there = np.stack([masks[label] for label in output.labels])
    else:
        array = np.asarray(value, np.float64)
        if array.ndim != 3:
            return array.reshape(len(output.labels), -1)
        there = np.arange(len(array))[:, None, None] == array.argmax(0)[None]
    rows, columns = (np.arange(size) * GRID // size for size in there.shape[1:])
    cells = (rows[:, None] * GRID + columns).ravel()
    counts = np.bincount(cells, minlength=GRID * GRID)
    sums = np.stack([np.bincount(cells, each.ravel(), GRID * GRID) for each in there])
    found: npt.NDArray[np.float64] = sums / np.maximum(counts, 1)
    return found


def _png(grey: Mask) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    return out.getvalue()


def _white(text: str) -> npt.NDArray[np.bool_]:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(text)), formats=("PNG",)) as image:
        return np.asarray(image.convert("L")) > 127
