"""The keys of a recipe that only transcription has."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data.folders import AUDIO

VALUES = ("wer", "cer", "wrong")
"""What is measured of the test split."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TranscriptionConfig(_Section):
    """Write down what is said, by connectionist temporal classification."""

    kind: Literal["transcription"] = "transcription"
    units: Literal["characters", "words"] = Field(
        default="characters", description="what the network writes with; words: only those that train has"
    )
    blank: Literal["first", "last"] = Field(default="first", description="where the blank stands in the alphabet")
    beam: int = Field(default=8, ge=1, le=64, description="readings that are followed at once; 1: the likeliest frames")
    order: int = Field(default=0, ge=0, le=6, description="of the n-gram of units fitted on train; 0: none")
    weight: float = Field(default=0.3, ge=0, description="how much the n-gram counts")
    language: str = Field(default="", pattern="^([a-z]{2,3})?$", description="of the texts, as ISO 639-1 has it")


class JoinConfig(_Section):
    """Utterances made of clips of single words: drawn with the seed from the clips of one split and one speaker."""

    fewest: int = Field(default=3, ge=1, description="clips of an utterance")
    most: int = Field(default=5, ge=1)
    train: int = Field(default=2000, ge=1, description="utterances of each split")
    valid: int = Field(default=200, ge=1)
    test: int = Field(default=300, ge=1)
    by: str = Field(default="", description="the group of data.text whose clips alone share an utterance")
    pause: float = Field(default=0.1, ge=0, le=5, description="most seconds of silence between two clips")
    seed: int = 0

    @model_validator(mode="after")
    def _range(self) -> "JoinConfig":
        if self.most < self.fewest:
            raise ValueError(f"most ({self.most}) is below fewest ({self.fewest})")
        return self


class SpeechData(_Section):
    """WAV and FLAC files and what is said in each: a text beside it (a.wav, a.txt), or what its path tells."""

    kind: Literal["speech"] = "speech"
    files: str = Field(default="*", description="glob over the fetched files' paths; * also crosses folders")
    text: str | None = Field(
        default=None,
        description="regular expression, found in a file's path: the group `text` is what is said, other named groups "
        "are notes; null: a .txt of the same name says it",
    )
    words: dict[str, str] = Field(default={}, description="texts that stand for another one, as 3 for three")
    join: JoinConfig | None = Field(default=None, description="make utterances of several clips")
    rate: int = Field(default=16_000, ge=1000, le=192_000, description="samples per second; clips are resampled to it")
    seconds: float = Field(default=30.0, gt=0, le=600, description="longest clip; longer ones are refused")
    mels: int = Field(default=40, ge=4, le=256, description="bands of the spectrogram")
    speed: float = Field(default=0.0, ge=0, lt=0.5, description="most relative change of speed and pitch in training")
    shift: float = Field(default=0.0, ge=0, description="most seconds of silence that training puts before a clip")
    volume: float = Field(default=0.0, ge=0, le=40, description="most decibels by which training changes the volume")
    noise: float = Field(default=0.0, ge=0, lt=1, description="most noise that training adds; full volume is 1")

    @field_validator("text")
    @classmethod
    def _names_a_text(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if "text" not in compiled.groupindex:
                raise ValueError("has no group (?P<text>...)")
        return pattern

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return (*AUDIO, *([] if self.text else [".txt"]))


class EvaluateConfig(_Section):
    """How the test split is scored."""

    primary: Literal["wer", "cer"] = Field(
        default="wer", description="the value of `test.` that says how good a model is"
    )
    group: str = Field(default="", description="also give the values per group: a named group of data.text")
