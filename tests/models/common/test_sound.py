"""The log-mel spectrogram against SciPy's Fourier transform and the definition of the bands."""

import numpy as np
import pytest
import torch
from scipy import signal

from models.common.sound import LEAST, LogMel, SoundEntry, mel_bands


@pytest.mark.parametrize(("rate", "samples"), [(8000, 4000), (16_000, 9001)])
def test_against_scipy(rate: int, samples: int) -> None:
    module = LogMel(rate, samples, 20)
    sound = np.random.default_rng(0).normal(size=samples)
    window = signal.get_window("hann", module.size)
    starts = np.arange(module.frames) * module.hop
    frames = np.stack([sound[at : at + module.size] for at in starts])
    power = np.abs(np.fft.rfft(frames * window / window.sum())) ** 2
    wanted = np.log(power @ mel_bands(rate, module.size, 20).double().numpy() + LEAST).T
    found = module(torch.tensor(sound, dtype=torch.float32)[None])[0].numpy()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_bands_follow_each_other_and_a_tone_is_in_its_own() -> None:
    bands = mel_bands(8000, 256, 16)
    assert (bands >= 0).all()
    peaks = bands.argmax(0)
    assert (peaks.diff() > 0).all()
    hertz = float(peaks[9]) * 8000 / 256
    tone = torch.sin(2 * torch.pi * hertz * torch.arange(4000) / 8000)[None]
    assert int(LogMel(8000, 4000, 16)(tone)[0].mean(1).argmax()) == 9


@pytest.mark.parametrize("samples", [1, 100, 799, 800, 801, 5000])
def test_any_length_makes_as_many_frames(samples: int) -> None:
    entry = SoundEntry(8000, {"samples": 800, "mean": [0.0] * 8, "std": [1.0] * 8})
    sound = torch.randn(2, samples, generator=torch.Generator().manual_seed(1))
    made = entry(sound)
    assert made.shape == (2, *entry.shape)
    longer = torch.nn.functional.pad(sound, (0, 900)) if samples <= 800 else sound[:, :800]
    torch.testing.assert_close(made, entry(longer))
