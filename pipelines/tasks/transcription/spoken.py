"""Clips of a split with their texts, decoded once."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.codecs import decode
from data.ctc import spell
from data.records import Records
from data.signature import Signature, TranscriptOutput
from pipelines.tasks.supervised.examples import some

Sound = NDArray[np.float32]


class Spoken:
    """`sounds`: float32 [samples] of each clip; `texts`; or of `most` clips. Raises MetrolineError: not prepared."""

    def __init__(self, prepared: Path, split: str, most: int | None = None) -> None:
        self.records = Records(prepared, split)
        self.index = dict(self.records.index)
        self.signature = Signature.model_validate(self.index["signature"])
        output = self.signature.outputs[0]
        assert isinstance(output, TranscriptOutput)
        self.output = output
        self.places = some(len(self.records), most)
        self.texts = [str(self.records.targets[place]) for place in self.places]
        self.sounds: list[Sound] = [decode(self.signature.inputs[0], self.raw(number)) for number in range(len(self))]

    def __len__(self) -> int:
        return len(self.places)

    def raw(self, number: int) -> bytes:
        """A clip as a client would send it."""
        return self.records.inputs(int(self.places[number]))[0]

    def group(self, name: str) -> list[str]:
        """What is noted about each clip under a name."""
        return [str(self.records.meta(int(place)).get(name, "")) for place in self.places]

    def symbols(self, number: int) -> list[int]:
        """A clip's text as places in the alphabet."""
        return spell(self.output.alphabet, self.texts[number])


def together(sounds: list[Sound], more: int = 0) -> Sound:
    """float32 [clips, longest + `more`], silence behind each."""
    found = np.zeros((len(sounds), max(map(len, sounds)) + more), np.float32)
    for place, sound in zip(found, sounds, strict=True):
        place[: len(sound)] = sound
    return found
