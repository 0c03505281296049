"""Masks and boxes in the playground: drawn over the image that was sent."""

import numpy as np
import pytest

from tests.serving import forward_bundles
from tests.serving.web.predict_page import ask, needs_chromium, said, shown

pytestmark = [pytest.mark.browser, needs_chromium]


def test_a_mask_over_its_image(page, kinds, tmp_path):
    """The second label is laid over the image in its colour; another one by a click; areas beside."""
    shown(page, kinds, "halves")
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10] = 255
    (tmp_path / "half.png").write_bytes(forward_bundles.png(pixels))
    page.choose(".drop input", tmp_path / "half.png")
    page.until(lambda: page.run("document.querySelector('.drop img').naturalWidth") == 40)
    ask(page)
    page.until(lambda: page.run("document.querySelector('canvas.mask').dataset.painted") == "1")
    wanted = said(kinds, "halves", (tmp_path / "half.png").read_bytes(), "image/png")
    assert [each["area"] for each in wanted] == [0.75, 0.25]
    rows = page.run("[...document.querySelectorAll('.areas li')].map(e => e.textContent)")
    assert rows == ["dark75.0 %", "bright25.0 %"]
    pixel = "[...document.querySelector('canvas.mask').getContext('2d').getImageData({}, 10, 1, 1).data]"
    assert page.run("[document.querySelector('canvas.mask').width, document.querySelector('canvas.mask').height]") == [
        40,
        20,
    ]
    over, beside = page.run(pixel.format(4)), page.run(pixel.format(30))
    assert over[2] < 150 < over[0]  # white under amber
    assert beside == [0, 0, 0, 255]
    page.click(".areas input")
    page.until(lambda: page.run("document.querySelector('canvas.mask').dataset.painted") == "2")
    assert page.run(pixel.format(30)) != [0, 0, 0, 255]
    page.complaints.clear()  # this test reads the canvas more often than the page does


def test_boxes_over_their_image(page, kinds, tmp_path):
    """In pixels of the image, in the colour of its label, which a click takes away; with how many there are."""
    shown(page, kinds, "things")
    (tmp_path / "white.png").write_bytes(forward_bundles.png(np.full((20, 40, 3), 255, np.uint8)))
    page.choose(".drop input", tmp_path / "white.png")
    page.until(lambda: page.run("document.querySelector('.drop img').naturalWidth") == 40)
    ask(page)
    page.until(lambda: page.run("document.querySelector('canvas.mask').dataset.painted") == "2")
    wanted = said(kinds, "things", (tmp_path / "white.png").read_bytes(), "image/png")
    assert [(each["label"], each["box"]["xmin"], each["box"]["ymax"]) for each in wanted] == [
        ("dog", 10, 10),
        ("cat", 0, 20),
    ]
    rows = page.run("[...document.querySelectorAll('.areas li')].map(e => e.textContent)")
    assert rows == ["cat1", "dog1"]
    pixel = "[...document.querySelector('canvas.mask').getContext('2d').getImageData({}, {}, 1, 1).data]"
    white = [255, 255, 255, 255]
    dog = page.run(pixel.format(29, 6))  # its right side is at 30, with a line of one pixel
    assert dog != white
    assert page.run(pixel.format(20, 15)) == white
    page.click(".areas li:last-child input")
    page.until(lambda: page.run("document.querySelector('canvas.mask').dataset.painted") == "1")
    assert page.run(pixel.format(29, 6)) == white
    page.complaints.clear()  # this test reads the canvas more often than the page does
