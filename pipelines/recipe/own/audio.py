"""Own clips in folders, one a class: classification."""

import math
from pathlib import Path

from base.errors import MetrolineError
from data.fetch.own_files import own_files
from data.folders import AUDIO
from pipelines.recipe.own.by_folder import classes
from pipelines.recipe.own.found import Found, shown_counts, split_of, trained_on

RATE = 16_000
"""Most samples a second that the network hears unless the recipe says more: speech needs no more."""
WINDOW = 4.0
"""Most seconds that it hears unless the recipe says more."""


def look(data: Path, name: str) -> Found:
    """A classifier of the clips. Raises MetrolineError: as `classes`, and one that cannot be read."""
    own = own_files(data, "**/*", name=name, suffixes=AUDIO)
    counts = classes(data, own, "audio file")
    rates, seconds = zip(*map(looks, own.files), strict=True)
    longest = math.ceil(10 * max(seconds)) / 10
    rate = min(RATE, max(rates))
    usual = sorted(seconds)[int(0.95 * (len(seconds) - 1))]
    values = {
        "subject": "your own clips by class",
        "task": "{kind: classification}",
        "split": split_of(str(own.name(file)) for file in own.files),
        "rate": str(rate),
        "seconds": f"{max(longest, 1.0):g}",
        "window": f"{min(WINDOW, max(0.5, math.ceil(10 * usual) / 10)):g}",
        "gate": "test.accuracy >= 0.9",
        "floor": "always the commonest class",
        **trained_on(len(own.files)),
    }
    said = f"{len(counts):,} classes of clips of up to {longest:g} s, heard at {rate:,} Hz: {shown_counts(counts)}"
    return Found(own, AUDIO, f"{said} → classification", "audio", values)


def looks(file: Path) -> tuple[int, float]:
    """Its rate and its seconds."""
    import soundfile

    try:
        head = soundfile.info(str(file))
    except (RuntimeError, OSError):
        raise MetrolineError(f"{file}: cannot be read as WAV or FLAC", hint="mend or remove it") from None
    return head.samplerate, head.frames / head.samplerate
