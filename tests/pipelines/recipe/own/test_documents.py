"""`init --task index`: the recipe for a folder of documents, and what is none."""

from pathlib import Path

import pytest
import yaml

from base.errors import MetrolineError
from pipelines.line.dvc import check_recipe
from pipelines.recipe.load import RECIPES, listed_bases, listed_recipes
from pipelines.recipe.new import create, repin
from tests.indexes import DOCUMENTS

ROOT = Path(__file__).parents[4]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / RECIPES).mkdir(parents=True)
    (tmp_path / RECIPES / "minilm.yaml").write_bytes((ROOT / RECIPES / "minilm.yaml").read_bytes())
    (tmp_path / "params.yaml").write_text("recipes:\n- minilm\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, raw in files.items():
        path = root / "papers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return root / "papers"


def test_a_folder_of_documents(root: Path) -> None:
    data = folder(root, DOCUMENTS | {"notes.docx": b"?"})
    path, found = create("mine", data, root, task="index")
    recipe = yaml.safe_load(path.read_text())
    assert recipe["pretrained"] == {"source": {"kind": "release", "name": "minilm"}}
    assert recipe["task"] == {"kind": "index"}
    assert found.own.summary() == "4 files, 1 kB; left out: 1 .docx"
    assert (listed_recipes(), listed_bases("releases"), listed_bases()) == (["minilm", "mine"], {"mine": "minilm"}, {})
    check_recipe("mine")
    (data / "new.md").write_text("# New\n")
    _, own = repin("mine", data, root)
    assert len(own.files) == 5


@pytest.mark.parametrize(
    ("files", "asked", "message"),
    [
        ({"a.docx": b"a"}, {}, r"no \.txt, \.md, .* file in"),
        ({"a.txt": b"a"}, {"target": "a"}, "--task index has no --target"),
        ({"a.txt": b"a"}, {"encoding": "latin-1"}, "--task index has no --target"),
    ],
)
def test_what_is_no_folder_of_documents(
    root: Path, files: dict[str, bytes], asked: dict[str, str], message: str
) -> None:
    with pytest.raises(MetrolineError, match=message):
        create("mine", folder(root, files), root, task="index", **asked)  # type: ignore[arg-type]
    assert not (root / RECIPES / "mine.yaml").exists()
