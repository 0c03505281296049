"""Files → clips with what is said in them; and utterances made of several."""

import fnmatch
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from base.errors import BadItem, MetrolineError
from data.codecs import decode
from data.fetch.fetched import File
from data.fetch.own_files import has_suffix
from data.folders import AUDIO
from data.signature import AudioInput
from pipelines.tasks.transcription.config import JoinConfig, SpeechData


@dataclass(frozen=True)
class Clip:
    """A sound and what is said in it."""

    id: str
    raw: bytes
    text: str
    meta: dict[str, str] = field(default_factory=dict)


def clips(files: Mapping[str, File], data: SpeechData) -> list[Clip]:
    """All of them, in the order of their paths. Raises MetrolineError: none, one whose text nothing tells."""
    wanted = [name for name in files if has_suffix(name, AUDIO) and fnmatch.fnmatchcase(name, data.files)]
    if not wanted:
        raise MetrolineError(f"no fetched clip matches {data.files!r}", hint=f"there are: {', '.join([*files][:3])}")
    found = []
    for name in wanted:
        text, meta = _said(name, files, data)
        said = " ".join(data.words.get(text, text).lower().split())
        if not said:
            raise MetrolineError(f"{name}: nothing is said in it", hint="leave it out by data.files")
        found.append(Clip(name, files[name].read_bytes(), said, meta))
    return found


def _said(name: str, files: Mapping[str, File], data: SpeechData) -> tuple[str, dict[str, str]]:
    if data.text is not None:
        match = re.search(data.text, name)
        if match is None:
            raise MetrolineError(f"{name}: data.text is not found in it", hint="say with data.files which are meant")
        groups = {key: value or "" for key, value in match.groupdict().items()}
        return groups.pop("text"), groups
    beside = str(PurePosixPath(name).with_suffix(".txt"))
    if beside not in files:
        raise MetrolineError(
            f"{name}: no {PurePosixPath(beside).name} beside it", hint="it has what is said in the clip"
        )
    try:
        return files[beside].read_bytes().decode("utf-8-sig"), {}
    except UnicodeDecodeError:
        raise MetrolineError(f"{beside}: is no UTF-8") from None


def samples(declared: AudioInput, clip: Clip) -> np.ndarray:
    """float32 [samples]. Raises MetrolineError, which names the clip."""
    try:
        return decode(declared, clip.raw)
    except BadItem as error:
        raise MetrolineError(f"{clip.id}: {error}", hint=error.hint or "mend or remove it") from None


def joined(declared: AudioInput, those: list[Clip], join: JoinConfig, split: str, count: int) -> Iterator[Clip]:
    """`count` utterances of a split, each of clips of one speaker (`join.by`), drawn without repeating one before all
    were taken. Raises MetrolineError: a speaker with less clips than an utterance has."""
    dice = np.random.Generator(np.random.Philox(key=join.seed, counter=[sum(map(ord, split)), 0, 0, 0]))
    speakers: dict[str, list[Clip]] = {}
    for clip in those:
        speakers.setdefault(clip.meta.get(join.by, "") if join.by else "", []).append(clip)
    heard = {clip.id: samples(declared, clip) for clip in those}
    names, bags = sorted(speakers), dict[str, list[Clip]]()
    for name in names:
        if len(speakers[name]) < join.most:
            raise MetrolineError(
                f"{split}: {join.by} {name!r} has {len(speakers[name])} clips", hint=f"data.join.most is {join.most}"
            )
    for number in range(count):
        name = names[number % len(names)]
        size = int(dice.integers(join.fewest, join.most + 1))
        bag = bags.setdefault(name, [])
        if len(bag) < size:
            bag += [speakers[name][place] for place in dice.permutation(len(speakers[name])).tolist()]
        taken, bags[name] = bag[:size], bag[size:]
        parts = []
        for clip in taken:
            parts += [heard[clip.id], np.zeros(int(dice.uniform(0, join.pause) * declared.rate), np.float32)]
        meta = {**({join.by: name} if join.by else {}), "clips": " ".join(clip.id for clip in taken)}
        yield Clip(
            f"{split}/{number}", wav(np.concatenate(parts), declared.rate), " ".join(clip.text for clip in taken), meta
        )


def wav(sound: np.ndarray, rate: int) -> bytes:
    """A WAV of 16 bits."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, sound, rate, format="WAV", subtype="PCM_16")
    return out.getvalue()
