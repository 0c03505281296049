"""What a recogniser's card says it writes with."""

from pathlib import Path

from base.files import write_json
from data.signature import AudioInput, Signature, TranscriptOutput
from pipelines.tasks.transcription.card import card
from pipelines.tasks.transcription.config import VALUES
from tests.pipelines.tasks.transcription import small_speech

VALUE = dict.fromkeys(VALUES, 0.5)
METRICS = {
    "test": VALUE | {"items": 1},
    "baselines": {f"{model}_{name}": 0.9 for model in ("floor", "frames") for name in VALUES},
    "groups": {},
}


def limit(folder: Path, alphabet: tuple[str, ...], units: str) -> tuple[str, str]:
    """The card's first limit, and what it says of inputs and outputs."""
    output = TranscriptOutput(name="transcript", shape=(-1, len(alphabet)), alphabet=alphabet, blank=0, step=0.02)
    audio = AudioInput(name="audio", shape=(-1,), rate=4000, seconds=20)
    Signature(task="automatic-speech-recognition", inputs=(audio,), outputs=(output,)).save(folder)
    write_json(folder / "transcripts.json", [{"said": "a", "read": "b"}])
    made = small_speech.recipe(task={"kind": "transcription", "order": 3, "units": units})
    found = card(made, folder, folder, METRICS)
    return found.limits[0], found.more[0]


def test_characters_or_words(tmp_path: Path) -> None:
    said, more = limit(tmp_path, ("", " ", "a", "b"), "characters")
    assert said == "It writes with the characters ' ab'; words that train has not may be wrong."
    assert "an n-gram of 3 characters" in more
    said, more = limit(tmp_path, ("", "one ", "two "), "words")
    assert said == "It writes with the words 'one', 'two'; words that train has not cannot be written."
    assert "an n-gram of 3 words" in more
