"""An encoded image → uint8 [H, W, C]. Prepare and serving both use this one function.

JPEG and PNG of any kind become what a viewer shows: turned as EXIF says; transparency laid on white; a palette looked
up; of 16 bits a channel the upper 8; CMYK as red, green and blue (Adobe's inverted kind too). Colour profiles and gamma
are ignored. Grey is ITU-R 601's.
"""

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from base.errors import BadItem
from data.signature import ImageInput

if TYPE_CHECKING:
    from PIL import Image

OTHERS = (
    (b"GIF8", "a GIF"), (b"BM", "a BMP"), (b"II*\0", "a TIFF"), (b"MM\0*", "a TIFF"), (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"), (b"<?xml", "an SVG"), (b"\0\0\1\0", "an icon"), (b"\x76\x2f\x31\x01", "an EXR"),
    (b"\xff\x0a", "a JPEG XL"), (b"\0\0\0\x0cJXL", "a JPEG XL"), (b"\0\0\0\x0cjP", "a JPEG 2000"),
)  # fmt: skip
ORIENTATION = 0x0112


def decode_image(input_: ImageInput, raw: bytes) -> npt.NDArray[np.uint8]:
    """JPEG or PNG bytes → uint8 [H, W, channels], of the image's own size.

    Raises BadItem: another format, truncated or damaged, more than `max_pixels` (refused before it is decoded).
    """
    from PIL import Image, UnidentifiedImageError

    name = input_.name
    if not raw:
        raise BadItem(f"{name}: no bytes")
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as image:
            width, height = image.size
            if width * height > input_.max_pixels:
                raise BadItem(f"{name}: {width:,} x {height:,} pixels, more than {input_.max_pixels:,} in all")
            image.load()
            turn = _turn(image)
            flat = _on_white(image)
            pixels = flat.convert("L" if input_.channels == 1 else "RGB")
            if turn is not None:
                pixels = pixels.transpose(turn)
            return np.array(pixels, np.uint8).reshape(pixels.height, pixels.width, input_.channels)
    except BadItem:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadItem(f"{name}: more than {input_.max_pixels:,} pixels") from None
    except UnidentifiedImageError:
        raise BadItem(f"{name}: {_kind(raw)}", hint="send JPEG or PNG") from None
    except Exception as error:  # the decoder's own; what they are is not documented
        raise BadItem(f"{name}: the image is truncated or damaged: {' '.join(str(error).split())[:200]}") from None


def _kind(raw: bytes) -> str:
    """What these bytes are, that are neither JPEG nor PNG."""
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "the image is a WebP"
    if raw[4:8] == b"ftyp":
        return f"the image is a {'AVIF' if raw[8:12] in (b'avif', b'avis') else 'HEIC'} or a video"
    for start, what in OTHERS:
        if raw.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(start):
            return f"the image is {what}"
    if raw.startswith((b"\xff\xd8", b"\x89PNG")):
        return "the image is truncated or damaged"
    return f"not an image: it begins with {raw[:8].hex(' ')}"


def _turn(image: "Image.Image") -> "Image.Transpose | None":
    """How the image is to be turned to stand upright; damaged EXIF says nothing."""
    from PIL import Image

    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:
        return None
    turns = Image.Transpose
    return {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(orientation if isinstance(orientation, int) else 1)


def _on_white(image: "Image.Image") -> "Image.Image":
    """The image in 8 bits and without transparency: L, RGB, or another mode that converts to them without loss."""
    from PIL import Image, ImageChops

    if image.mode.startswith("I"):  # 16 bits of grey
        grey = np.asarray(image).astype(np.uint32)
        pixels = (grey >> 8).astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):
            pixels[grey == clear] = 255
        return Image.fromarray(pixels)
    if image.mode == "CMYK" and "adobe" not in image.info:  # Pillow takes every CMYK JPEG for inverted
        return ImageChops.invert(image)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured)
    return image
