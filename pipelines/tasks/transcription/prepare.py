"""Clips with their texts → records of three splits, with the signature; alphabet and scale of bands are train's."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from base.errors import MetrolineError
from base.files import atomic_folder
from base.progress import Progress
from data import assign, leaks
from data.ctc import alphabet_of, grams, spell
from data.fetch.fetched import fetched_members
from data.records import RecordWriter, write_index
from data.signature import AudioInput, Signature, TranscriptOutput
from data.split import SPLITS
from pipelines.tasks.transcription.clips import Clip, clips, joined, samples

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

STEP_FRAMES = 2
"""Frames of the spectrogram to one of the answer."""


def prepare(recipe: "Recipe", raw: Path, out: Path) -> None:
    """Fill the folder `out`. Clips are shared out first, so that no utterance has clips of two splits. Raises
    MetrolineError, which names the file: no text, not to be read, a character that train has not, an empty split."""
    from models.common.sound import HOP

    data, task = recipe.data, recipe.task
    declared = AudioInput(name="audio", shape=(-1,), rate=data.rate, seconds=data.seconds)
    found = clips(fetched_members(raw), data)
    items = [assign.Item(clip.id, assign.digest(clip.raw), dict(clip.meta)) for clip in found]
    splits = leaks.drop_duplicates(items, assign.assign(items, recipe.split), recipe.split)
    leaks.refuse_split_groups(items, splits, recipe.split)
    parts = {split: [clip for clip, where in zip(found, splits, strict=True) if where == split] for split in SPLITS}
    if empty := [split for split, some in parts.items() if not some]:
        raise MetrolineError(f"the {empty[0]} split has no clip", hint=f"{len(found)} were read; see section split")
    texts = [clip.text for clip in parts["train"]]
    units = alphabet_of([*texts, *([" "] if data.join else [])], task.units == "words")
    alphabet = ("", *units) if task.blank == "first" else (*units, "")
    with atomic_folder(out) as folder, Progress("prepare", len(found), "clips") as progress:
        writers, fit = [], _Bands(data.rate, data.mels)
        said: list[str] = []
        for split in SPLITS:
            made: Iterable[Clip] = parts[split]
            if data.join:
                made = joined(declared, parts[split], data.join, split, getattr(data.join, split))
            with RecordWriter(folder, split, target="text") as writer:
                for clip in made:
                    try:
                        spell(alphabet, clip.text)
                    except KeyError as odd:
                        raise MetrolineError(
                            f"{clip.id}: train has no {str(odd.args[0]).strip()!r}",
                            hint=f"no text with it could be right; task.units is {task.units}",
                        ) from None
                    sound = samples(declared, clip)
                    writer.add(clip.id, {"input": clip.raw}, clip.text, clip.meta)
                    if split == "train":
                        said.append(clip.text)
                        fit.add(sound)
            progress.update(advance=len(parts[split]))
            writers.append(writer)
        blank = alphabet.index("")
        output = TranscriptOutput(
            name="transcript", shape=(-1, len(alphabet)), alphabet=alphabet, blank=blank, step=STEP_FRAMES * HOP,
            language=task.language, beam=task.beam, weight=task.weight if task.order else 0.0,
            grams=grams(said, alphabet, blank, task.order) if task.order else {},
        )  # fmt: skip
        signature = Signature(task="automatic-speech-recognition", inputs=(declared,), outputs=(output,))
        write_index(folder, writers, signature=signature.model_dump(mode="json"), fitted=fit.fitted())


class _Bands:
    """Mean and spread of each band of the spectrogram."""

    def __init__(self, rate: int, mels: int) -> None:
        from models.common.sound import LogMel

        self.log_mel, self.count = LogMel(rate, 0, mels), 0
        self.total, self.squares = np.zeros(mels), np.zeros(mels)

    def add(self, sound: np.ndarray) -> None:
        """Count a clip [samples]."""
        import torch

        with torch.no_grad():
            bands: np.ndarray = self.log_mel(torch.from_numpy(sound)[None])[0].numpy().astype(np.float64)
        self.total, self.squares = self.total + bands.sum(1), self.squares + (bands**2).sum(1)
        self.count += bands.shape[1]

    def fitted(self) -> dict[str, Any]:
        """What it is; `samples` 0: the network hears all of a clip."""
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        return {"mean": mean.tolist(), "std": np.where(std > 1e-3, std, 1.0).tolist(), "samples": 0}
