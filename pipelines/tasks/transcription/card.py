"""What the model card says of a recogniser."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import read_json
from base.markdown import table
from data.signature import FILE, Signature, TranscriptOutput
from pipelines.tasks.interface import Card
from pipelines.tasks.transcription.config import VALUES

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def card(recipe: "Recipe", folder: Path, evaluation: Path, metrics: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files."""
    data, output = recipe.data, Signature.load(folder / FILE).outputs[0]
    assert isinstance(output, TranscriptOutput)
    task, join = recipe.task, data.join
    gram = f"an n-gram of {task.order} {task.units}" if task.order else "no n-gram"
    units = " ".join(output.alphabet).split() if task.units == "words" else ["".join(output.alphabet)]
    unknown = "cannot be written" if task.units == "words" else "may be wrong"
    made = (
        f"Clips were shared out first; an utterance is {join.fewest} to {join.most} clips of one split"
        + (f" and one {join.by}" if join.by else "")
        + f", at most {join.pause:g} s apart. "
        if join
        else ""
    )
    return Card(
        library="metroline",
        architecture=recipe.model.kind,
        data=f"{made}The alphabet, the scale of bands and the n-gram are fitted on train alone.",
        counts={"records": "clips", "bytes": "bytes of input"},
        targets="clips",
        loss="nats per character",
        output="logarithm of a probability, relative to the median one",
        parity="test clips, noise of several lengths in batches of several sizes, and the golden items' raw bytes",
        quality=_quality(metrics, evaluation),
        limits=(
            f"It writes with the {task.units} {', '.join(map(repr, units))}; words that train has not {unknown}.",
            f"It hears {data.rate:,} samples a second, WAV and FLAC of {data.seconds:g} s at most; cut longer ones.",
            "Other voices, accents, microphones and noises than those of its data may be read wrong.",
            "Its architecture is Metroline's own; other libraries run the exported graphs.",
        ),
        more=(
            "## Inputs and outputs\n\n- `audio`: WAV or FLAC.\n- `transcript`: the text, and when each word is said. "
            f"It is read of frames of {output.step:g} s by beam search ({output.beam} readings, {gram}); the blank is "
            f"column {output.blank}.",
        ),
    )


def _quality(metrics: Mapping[str, Any], evaluation: Path) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    rows = [
        (words, *(f"{100 * values[f'{key}{name}']:.2f} %" for name in VALUES))
        for words, values, key in (
            ("this model", test, ""),
            ("the likeliest symbol of each frame, without beam search", baselines, "frames_"),
            ("one text for all", baselines, "floor_"),
        )
    ]
    parts = [
        f"On the test split ({test['items']} clips): words that are wrong (word error rate, by edit distance), "
        "characters that are, texts that are not right to the letter. Less is better.",
        table(("", "words", "characters", "texts"), rows),
    ]
    if groups := metrics["groups"]:
        some = [(name, f"{100 * each['wer']:.2f} %", each["items"]) for name, each in groups.items()]
        parts.append(table(("group", "words", "clips"), some))
    shown = [(each["said"], each["read"]) for each in read_json(evaluation / "transcripts.json")]
    return "\n\n".join([*parts, "The first clips, and the first that are read wrong:", table(("said", "read"), shown)])
