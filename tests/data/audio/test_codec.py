"""A clip becomes mono at the model's rate with full scale 1, whatever its kind; what cannot is refused."""

import io
import struct

import numpy as np
import pytest
import soundfile

from base.errors import BadItem
from data.codecs import decode
from data.signature import AudioInput

CLIP = AudioInput(name="clip", shape=(-1,), rate=8000, seconds=1.0)
SOUND = np.array([0.0, 0.5, -0.5, 0.25, -1.0, 0.125] * 20)


def saved(samples: np.ndarray, rate: int = 8000, form: str = "WAV", bits: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, bits, format=form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "bits"),
    [("WAV", bits) for bits in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")]
    + [("WAVEX", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24")],
)
def test_every_width_has_full_scale_1(form, bits):
    found = decode(CLIP, saved(SOUND, form=form, bits=bits))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, SOUND, atol=2**-7 if bits == "PCM_U8" else 2**-15)


def test_stereo_is_averaged():
    both = np.stack([SOUND, np.zeros_like(SOUND)], 1)
    np.testing.assert_allclose(decode(CLIP, saved(both)), SOUND / 2, atol=2**-15)
    opposed = np.stack([SOUND[:5] / 2, -SOUND[:5] / 2], 1)
    assert np.abs(decode(CLIP, saved(opposed, bits="FLOAT"))).max() == 0


@pytest.mark.parametrize("rate", [4000, 7919, 8001, 11025, 16000, 22050, 44100, 48000, 96000])
def test_another_rate_is_the_same_tone(rate):
    seconds, tone = 0.5, 440.0
    there = np.sin(2 * np.pi * tone * np.arange(int(rate * seconds)) / rate) * 0.5
    found = decode(CLIP, saved(there, rate, bits="FLOAT"))
    assert abs(len(found) - 8000 * seconds) <= 1
    here = np.sin(2 * np.pi * tone * np.arange(len(found)) / 8000) * 0.5
    middle = slice(400, -400)
    assert np.abs(found - here)[middle].max() < 2e-4


def test_what_the_rate_cannot_hold_is_filtered_out():
    high = np.sin(2 * np.pi * 6000 * np.arange(24_000) / 48_000)  # would fold to 2 kHz
    assert np.abs(decode(CLIP, saved(high, 48_000, bits="FLOAT"))[400:-400]).max() < 1e-4


def test_same_rate_is_untouched():
    exact = SOUND.astype(np.float32)
    np.testing.assert_array_equal(decode(CLIP, saved(exact, bits="FLOAT")), exact)


def test_length():
    assert len(decode(CLIP, saved(np.zeros(8000)))) == 8000
    with pytest.raises(BadItem, match=r"clip: 1.1 s, longer than 1 s"):
        decode(CLIP, saved(np.zeros(9000)))
    with pytest.raises(BadItem, match=r"clip: 1,000.0 s, longer"):
        decode(CLIP, saved(np.zeros(8_000_000, np.int16), form="FLAC"))
    with pytest.raises(BadItem, match=r"clip: the clip is empty"):
        decode(CLIP, saved(np.zeros(0)))


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_truncated(form):
    raw = saved(np.random.default_rng(0).normal(0, 0.1, 4000), form=form)
    for length in (0, 4, 20, len(raw) // 2, len(raw) - 3):
        with pytest.raises(BadItem, match=r"^clip: (the clip is (truncated|empty)|no bytes)"):
            decode(CLIP, raw[:length])


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_size(size):
    raw = bytearray(saved(SOUND))
    place = raw.index(b"data") + 4
    raw[place : place + 4] = struct.pack("<I", size)
    raw[4:8] = struct.pack("<I", size)
    np.testing.assert_allclose(decode(CLIP, bytes(raw)), SOUND, atol=2**-15)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number(value):
    samples = SOUND.copy()
    samples[7] = value
    with pytest.raises(BadItem, match=r"clip: sample 7 is no finite number"):
        decode(CLIP, saved(samples, bits="FLOAT"))


def test_other_formats_are_named():
    for form, bits in (("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("AU", "PCM_16")):
        with pytest.raises(BadItem, match=r"clip: the clip is .*send WAV or FLAC"):
            decode(CLIP, saved(SOUND, form=form, bits=bits))
    for raw, message in ((b"ID3\4 and more", "an MP3"), (b"hello, world", "not a clip: it begins with 68 65 6c"),
                         (b"\0\0\0\x20ftypisom", "an MP4")):  # fmt: skip
        with pytest.raises(BadItem, match=message):
            decode(CLIP, raw)


def test_a_rate_that_is_none():
    raw = bytearray(saved(SOUND))
    for rate in (1, 2**31 - 1):
        raw[24:28] = struct.pack("<I", rate)
        with pytest.raises(BadItem, match=r"is no rate of sound|truncated or damaged"):
            decode(CLIP, bytes(raw))
