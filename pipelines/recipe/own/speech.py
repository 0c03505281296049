"""Own clips with what is said in them, each with a text beside it: transcription."""

import math
from pathlib import Path

from base.errors import MetrolineError
from data.fetch.own_files import own_files
from data.folders import AUDIO
from pipelines.recipe.own.audio import RATE, looks
from pipelines.recipe.own.found import Found, split_of, trained_on

TEXT = ".txt"


def has_texts(clips: list[Path]) -> bool:
    """Whether each clip has a text of its name beside it."""
    return bool(clips) and all(clip.with_suffix(TEXT).is_file() for clip in clips)


def look(data: Path, name: str) -> Found:
    """A recogniser of what is said. Raises MetrolineError: no clip, one without a text, one that cannot be read."""
    own = own_files(data, "**/*", name=name, suffixes=(*AUDIO, TEXT))
    clips = [file for file in own.files if file.suffix.lower() in AUDIO]
    if not clips:
        raise MetrolineError(f"{data}: no clip", hint=f"there must be {', '.join(AUDIO)}, each with a .txt of its name")
    if alone := [clip for clip in clips if not clip.with_suffix(TEXT).is_file()]:
        raise MetrolineError(
            f"{own.name(alone[0])}: no {alone[0].stem}.txt beside it", hint="it has what is said in it"
        )
    rates, seconds = zip(*map(looks, clips), strict=True)
    longest = max(1.0, math.ceil(10 * max(seconds)) / 10)
    values = {
        "subject": "your own clips with what is said in them",
        "split": split_of(str(own.name(file)) for file in clips),
        "rate": str(min(RATE, max(rates))), "seconds": f"{longest:g}",
        "batch": str(max(1, min(16, len(clips) // 4))),
        "gate": "test.wer <= 0.2", "floor": "one text for all",
        **trained_on(8 * len(clips)),
    }  # fmt: skip
    hours = sum(seconds) / 3600
    said = f"{len(clips):,} clips with texts, {hours:.2g} h, of up to {longest:g} s → transcription"
    return Found(own, (*AUDIO, TEXT), said, "speech", values)
