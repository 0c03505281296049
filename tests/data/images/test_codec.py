"""An image becomes what a viewer shows, whatever its kind; what cannot is refused with the reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from base.errors import BadItem
from data.codecs import decode
from data.signature import ImageInput

COLOUR = ImageInput(name="image", shape=(-1, -1, 3), height=8, width=8, max_pixels=10_000)
GREY = ImageInput(name="image", shape=(-1, -1, 1), height=8, width=8, channels=1, max_pixels=10_000)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG as its standard says, of kinds that Pillow does not write. `rows`: each with its filter byte."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_rgb_png_is_itself():
    found = decode(COLOUR, saved(Image.fromarray(PIXELS)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PIXELS)


def test_grey_and_colour():
    grey = PIXELS[..., 0]
    raw = saved(Image.fromarray(grey))
    np.testing.assert_array_equal(decode(GREY, raw), grey[..., None])
    np.testing.assert_array_equal(decode(COLOUR, raw), np.repeat(grey[..., None], 3, 2))
    red, green, blue = PIXELS.astype(float).transpose(2, 0, 1)
    found = decode(GREY, saved(Image.fromarray(PIXELS)))[..., 0]
    assert np.abs(found - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 0.51


# How a viewer shows the stored rows for each value of EXIF's orientation, by its standard
STANDING = {
    1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1], 5: PIXELS.transpose(1, 0, 2),
    6: PIXELS[::-1].transpose(1, 0, 2), 7: PIXELS[::-1, ::-1].transpose(1, 0, 2), 8: PIXELS[:, ::-1].transpose(1, 0, 2),
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_exif_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(COLOUR, saved(Image.fromarray(PIXELS), exif=exif))
    np.testing.assert_array_equal(found, STANDING[orientation])


def test_a_turned_jpeg_stands_upright():
    lying = np.zeros((8, 16, 3), np.uint8)
    lying[:, :8] = 255  # white at the left: turned by 90 degrees clockwise, at the top
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(COLOUR, saved(Image.fromarray(lying), "JPEG", exif=exif))
    assert found.shape == (16, 8, 3)
    assert found[:7].min() > 240
    assert found[9:].max() < 15


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage!", b"Exif\0\0MM\0*\xff\xff\xff\xff"])
def test_damaged_exif_says_nothing(exif):
    np.testing.assert_array_equal(decode(COLOUR, saved(Image.fromarray(PIXELS), exif=exif)), PIXELS)


def test_an_orientation_that_is_none():
    exif = Image.Exif()
    exif[0x0112] = 77
    np.testing.assert_array_equal(decode(COLOUR, saved(Image.fromarray(PIXELS), exif=exif)), PIXELS)


def test_of_16_bits_the_upper_8():
    wide = np.array([[0, 255, 256, 65535], [32768, 4660, 1, 65280]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    np.testing.assert_array_equal(decode(GREY, png(4, 2, 16, 0, rows))[..., 0], wide >> 8)
    colour = (np.arange(24).reshape(2, 4, 3) * 2730).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in colour)
    np.testing.assert_array_equal(decode(COLOUR, png(4, 2, 16, 2, rows)), colour >> 8)


def test_a_clear_grey_of_16_bits_is_white():
    rows = b"\0" + np.array([256, 512], ">u2").tobytes()
    raw = png(2, 1, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 256)))
    assert decode(GREY, raw)[0, :, 0].tolist() == [255, 2]


def test_bits():
    raw = png(8, 1, 1, 0, b"\0\xa5")
    assert decode(GREY, raw)[0, :, 0].tolist() == [255, 0, 255, 0, 0, 255, 0, 255]


def test_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert decode(COLOUR, saved(image))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert decode(COLOUR, saved(image, transparency=1))[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    assert decode(COLOUR, saved(image, transparency=b"\xff\x80"))[0][1].tolist() == pytest.approx(
        [227, 177, 152], abs=1
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_on_white(mode):
    colour = (0, 0, 0) if mode == "RGBA" else (0,)
    image = Image.new(mode, (3, 1))
    for place, alpha in enumerate((0, 51, 255)):
        image.putpixel((place, 0), (*colour, alpha))
    assert decode(COLOUR, saved(image))[0, :, 0].tolist() == [255, 204, 0]
    assert decode(GREY, saved(image))[0, :, 0].tolist() == [255, 204, 0]


def test_one_clear_colour():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    assert decode(COLOUR, saved(image, transparency=(1, 2, 3)))[0].tolist() == [[255, 255, 255], [9, 9, 9]]


def without_adobe(raw: bytes) -> bytes:
    place = raw.index(b"\xff\xee")
    return raw[:place] + raw[place + 2 + int.from_bytes(raw[place + 2 : place + 4], "big") :]


@pytest.mark.parametrize("kind", ["adobe", "plain"])
def test_cmyk_jpeg_has_its_colours(kind):
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    raw = saved(cyan, "JPEG", quality=100)  # as Adobe writes it: inverted, and marked so
    if kind == "plain":
        raw = without_adobe(saved(Image.eval(cyan, lambda value: 255 - value), "JPEG", quality=100))
        assert b"Adobe" not in raw
    assert decode(COLOUR, raw)[8, 8].tolist() == pytest.approx([0, 255, 255], abs=3)


def test_bombs_are_refused_by_their_heads():
    for width, height in ((101, 100), (30_000, 30_000), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(BadItem, match=r"more than 10,000"):
            decode(COLOUR, png(width, height, 8, 2, b"\0"))
    comment = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))
    with pytest.raises(BadItem, match=r"truncated or damaged: Decompressed data too large"):
        decode(COLOUR, png(1, 1, 8, 2, b"\0\0\0\0", comment))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_truncated(form):
    raw = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), form)
    for length in (1, 9, 40, len(raw) // 2, len(raw) - 200):
        with pytest.raises(BadItem, match=r"truncated or damaged|not an image"):
            decode(COLOUR, raw[:length])


def test_other_formats_are_named():
    image = Image.fromarray(PIXELS)
    for form, name in (("GIF", "a GIF"), ("BMP", "a BMP"), ("TIFF", "a TIFF"), ("WEBP", "a WebP")):
        with pytest.raises(BadItem, match=rf"^image: the image is {name} \(send JPEG or PNG\)$"):
            decode(COLOUR, saved(image, form))
    for raw, message in ((b"", "no bytes"), (b"<svg></svg>", "an SVG"), (b"hello, world", "begins with 68 65 6c"),
                         (b"\0\0\0\x20ftypheic", "a HEIC")):  # fmt: skip
        with pytest.raises(BadItem, match=message):
            decode(COLOUR, raw)
    with pytest.raises(BadItem, match="image: image is bytes of a file, not"):
        decode(COLOUR, {"a": 1})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["PNG", "JPEG"]), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6))
def test_no_damage_is_a_traceback(form, changes):
    raw = bytearray(saved(Image.fromarray(PIXELS), form))
    for place, value in changes:
        raw[place % len(raw)] = value
    try:
        found = decode(COLOUR, bytes(raw))
    except BadItem:
        return
    assert found.dtype == np.uint8
    assert found.shape[2] == 3
