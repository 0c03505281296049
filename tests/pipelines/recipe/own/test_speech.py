"""`metroline init` on a folder of clips with texts beside them."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from base.errors import MetrolineError
from base.files import read_json
from pipelines.line.stages import STAGES
from pipelines.paths import Paths
from pipelines.recipe.new import create
from pipelines.recipe.own.look import look
from pipelines.recipe.schema import Recipe
from tests.pipelines.tasks.transcription import small_speech


def clips(folder: Path, count: int = 30) -> Path:
    dice = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        text = ("ab", "ca bcc")[number % 2]
        (folder / f"{number}.wav").write_bytes(small_speech.wav(small_speech.spoken(text, dice)))
        (folder / f"{number}.txt").write_text(text)
    return folder


def test_clips_with_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, data = tmp_path / "project", clips(tmp_path / "notes")
    (root / "pipelines/recipes").mkdir(parents=True)
    (root / "params.yaml").write_text("recipes:\n")
    monkeypatch.chdir(root)
    path, found = create("notes", data, root)
    assert found.said == "30 clips with texts, 0.0045 h, of up to 1 s → transcription"
    recipe, paths = Recipe.of(yaml.safe_load(path.read_text()) | {"name": "notes"}), Paths("notes", root)
    for stage in ("fetch", "prepare"):
        STAGES[stage].function(recipe, paths)
    index = read_json(paths.prepared / "index.json")
    assert sum(each["records"] for each in index["splits"].values()) == 30
    assert "".join(index["signature"]["outputs"][0]["alphabet"]) == " abc"
    assert recipe.data.rate == small_speech.RATE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "3.txt").unlink(), r"3\.wav: no 3\.txt beside it"),
        (lambda folder: (folder / "3.wav").write_bytes(b"x"), r"3\.wav: cannot be read"),
        (lambda folder: [clip.unlink() for clip in folder.glob("*.wav")], "no clip"),
    ],
)
def test_what_is_no_folder_of_speech(tmp_path: Path, change, said: str) -> None:
    folder = clips(tmp_path / "x", 6)
    change(folder)
    with pytest.raises(MetrolineError, match=said):
        look(folder, "x", None, "transcription")
