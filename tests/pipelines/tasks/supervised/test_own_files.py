"""A folder of the user's own tables or images: `fetch` takes what `prepare` reads and says what it leaves out."""

from pathlib import Path
from typing import Any

import pytest

from base.errors import MetrolineError
from data.fetch.sources import pin
from pipelines.line.stages import STAGES
from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe

TABLE, IMAGES, SOUNDS = {"kind": "table", "target": "y"}, {"kind": "images"}, {"kind": "audio"}
LINES = {"kind": "text", "rows": {"form": "lines", "pattern": "(?P<label>.) (?P<text>.+)"}}


@pytest.mark.parametrize(
    ("data", "kind", "suffixes", "taken"),
    [
        (TABLE, "classification", (".csv",), {"rows.csv"}),
        (TABLE, "regression", (".csv",), {"rows.csv"}),
        (IMAGES, "classification", (".png",), {"1.png"}),
        (SOUNDS, "classification", (".wav",), {"1.wav"}),
        (LINES, "classification", ("",), {"rows.csv", "1.png", "1.wav", "notes.md"}),
    ],
)
def test_own_files_are_those_that_prepare_reads(
    tmp_path: Path,
    data: dict[str, Any],
    kind: str,
    suffixes: tuple[str, ...],
    taken: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("rows.csv", "1.png", "1.wav", "notes.md"):
        (own / name).write_text(name)
    recipe, paths = made(data, kind, pin(own, suffixes=suffixes).model_dump()), Paths("own", tmp_path)
    STAGES["fetch"].function(recipe, paths)
    assert {path.name for path in (paths.raw / "files").iterdir()} == taken
    assert ("left out" in capsys.readouterr().out) == (len(taken) == 1)


def test_a_folder_without_any_names_what_is_there(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "notes.md").write_text("notes")
    recipe = made(IMAGES, "classification", {"kind": "file", "path": str(own), "sha256": "0" * 64})
    with pytest.raises(MetrolineError, match=r"no \.png, \.jpg, \.jpeg file in") as caught:
        STAGES["fetch"].function(recipe, Paths("own", tmp_path))
    assert "there: 1 .md" in str(caught.value.hint)


def made(data: dict[str, Any], kind: str, source: dict[str, Any]) -> Recipe:
    return Recipe.of(
        {
            "name": "own",
            "description": "own files",
            "licence": "none",
            "source": source,
            "data": data,
            "task": {"kind": kind},
            "model": {
                "kind": {"table": "mlp", "images": "lenet", "audio": "resnet", "text": "text-lstm"}[data["kind"]]
            },
        }
    )
