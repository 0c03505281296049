"""An encoded clip → float32 [samples], mono, at the signature's rate. Prepare and serving both use this one function.

WAV (8 to 32 bits, float) and FLAC of any rate; channels are averaged; full scale is 1.
"""

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import BadItem
from data.audio.resample import resample
from data.signature import AudioInput

FORMATS = ("WAV", "WAVEX", "FLAC")
RATES = (100, 1_000_000)
"""Smallest and largest rate of a clip, Hz."""
UNKNOWN = 0x7FFF0000
"""From this size on a WAV's head means that it was written to a pipe, when its size was not known."""
OTHERS = (
    (b"ID3", "an MP3"), (b"\xff\xfb", "an MP3"), (b"\xff\xf3", "an MP3"), (b"OggS", "an Ogg"), (b"FORM", "an AIFF"),
    (b".snd", "an AU"), (b"RIFX", "a RIFX"), (b"RF64", "an RF64"), (b"\x1aE\xdf\xa3", "a WebM"),
)  # fmt: skip


def decode_audio(input_: AudioInput, raw: bytes) -> npt.NDArray[np.float32]:
    """WAV or FLAC bytes → float32 [samples] at `rate` Hz.

    Raises BadItem: another format, truncated or damaged, empty, longer than `seconds`, a sample that is no number.
    """
    import soundfile

    name = input_.name
    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as clip:
            if clip.format not in FORMATS:
                raise BadItem(f"{name}: the clip is {clip.format_info}", hint="send WAV or FLAC")
            rate, frames = clip.samplerate, clip.frames
            _check(input_, rate, frames)
            samples = clip.read(dtype="float32", always_2d=True)
    except BadItem:
        raise
    except Exception as error:  # the decoder's own; what they are is not documented
        raise BadItem(f"{name}: {_kind(raw, error)}", hint="send WAV or FLAC") from None
    if (whole := _promised(raw)) > len(raw) or len(samples) != frames:
        promised = f"{len(raw):,} of {whole:,} bytes" if whole > len(raw) else f"{len(samples):,} of {frames:,} samples"
        raise BadItem(f"{name}: the clip is truncated: {promised} are there")
    if not np.isfinite(samples).all():
        raise BadItem(f"{name}: sample {int((~np.isfinite(samples)).any(1).argmax()):,} is no finite number")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(1, dtype=np.float64).astype(np.float32)
    return resample(np.ascontiguousarray(mono), rate, input_.rate)


def _check(input_: AudioInput, rate: int, frames: int) -> None:
    """Refuse a clip by what its head says, before it is decoded."""
    if not RATES[0] <= rate <= RATES[1]:
        raise BadItem(f"{input_.name}: {rate:,} samples a second is no rate of sound")
    if not frames:
        raise BadItem(f"{input_.name}: the clip is empty")
    if frames / rate > input_.seconds + 0.5 / rate:
        raise BadItem(f"{input_.name}: {frames / rate:,.1f} s, longer than {input_.seconds:g} s")


def _promised(raw: bytes) -> int:
    """Bytes that a WAV's chunk of samples needs by its own head; 0 when it does not say, and for FLAC."""
    place = 12
    while raw[:4] == b"RIFF" and place + 8 <= len(raw):
        size = int.from_bytes(raw[place + 4 : place + 8], "little")
        if raw[place : place + 4] == b"data":
            return 0 if size >= UNKNOWN else place + 8 + size
        place += 8 + size + size % 2
    return 0


def _kind(raw: bytes, error: Any) -> str:
    """What these bytes are, that cannot be decoded."""
    if not raw:
        return "no bytes"
    if raw.startswith((b"RIFF", b"fLaC")):
        return f"the clip is truncated or damaged: {' '.join(str(error).split())[:200]}"
    for start, what in OTHERS:
        if raw.startswith(start):
            return f"the clip is {what}"
    return "the clip is an MP4" if raw[4:8] == b"ftyp" else f"not a clip: it begins with {raw[:8].hex(' ')}"
