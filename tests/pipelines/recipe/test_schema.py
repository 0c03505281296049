"""Recipes: the shipped ones, the errors of bad ones, and the page that documents them."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from base.errors import MetrolineError
from pipelines.recipe.load import RECIPES, names
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.reference import page

ROOT = Path(__file__).parents[3]
TINY = yaml.safe_load((ROOT / RECIPES / "tiny.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def write(tmp_path):
    """Writes a recipe `mine` and returns what loading it raises."""

    def write(text):
        folder = tmp_path / RECIPES
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(MetrolineError) as caught:
            load_recipe("mine", tmp_path)
        return str(caught.value)

    return write


@pytest.mark.parametrize("name", names(ROOT))
def test_a_shipped_recipe_is_valid_and_known_to_dvc(name):
    recipe = load_recipe(name, ROOT)
    assert recipe.name == name
    assert recipe.licence
    assert name in yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["recipes"]


def test_reading_recipes_imports_no_torch():
    """It takes longer than all else that `metroline run` does where nothing is stale."""
    code = "import sys; from pipelines.recipe.load import load, names\n"
    code += "print(*(name for name in names() if load(name) and 'torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr  # the first one's model or task imports it


def test_the_nearest_recipe_is_named():
    with pytest.raises(MetrolineError, match="did you mean speeches"):
        load_recipe("speches", ROOT)


BAD = {
    "unknown section": (lambda r: r.update(modle={}), "modle: unknown key, did you mean model?"),
    "unknown key": (lambda r: r["train"].update(stepps=3), "train.stepps: unknown key, did you mean steps?"),
    "unknown key of a source": (lambda r: r["source"].update(globb="*"), "globb: unknown key, did you mean glob?"),
    "unknown kind of source": (lambda r: r["source"].update(kind="ftp"), "source"),
    "no source": (lambda r: r.pop("source"), "source: Field required"),
    "zero steps": (lambda r: r["train"].update(steps=0), "train.steps"),
    "text for a number": (lambda r: r["train"].update(lr="fast"), "train.lr"),
    "hash too short": (lambda r: r["source"].update(sha256="abc"), "sha256"),
    "heads do not fit": (lambda r: r["model"].update(heads=3), "model"),
    "gate with no comparison": (lambda r: r.update(gates=["test.loss"]), "is not a gate"),
    "unknown task": (lambda r: r.update(task={"kind": "poetry"}), "task.kind: there is no task 'poetry'; there are: "),
    "a task without its key": (lambda r: r.update(task="poetry"), "write task: {kind: poetry}"),
    "unknown model": (lambda r: r.update(model={"kind": "decodr"}), "did you mean decoder?"),
    "a key of the task's": (
        lambda r: r["data"].update(tokeniser={}),
        "did you mean tokenizer?",
    ),
    "a section of old": (lambda r: r.update(clean={}), "clean: stands below data now, as `data: {clean: ...}`"),
    "another name inside": (lambda r: r.update(name="other"), "says name: other"),
    "a head that cannot be exported": (lambda r: r["model"].update(heads=8, kv_heads=1), "model.head_dim: 8 is not a"),
    "the same without RoPE": (
        lambda r: r["model"].update(positions="learned", head_dim=12),
        "model.head_dim: 12 is not a multiple of 8",
    ),
    "a sequence past the context": (
        lambda r: r["train"].update(sequence=65),
        "train.sequence: 65 is longer than model",
    ),
    "nothing to evaluate on": (lambda r: r["split"].update(test=0), "split.test: evaluate needs a test split"),
    "text by time": (
        lambda r: r["split"].update(method="time", by="year"),
        "split.method: text is split by hash or tail, not by time",
    ),
    "a group of text": (lambda r: r["split"].update(group="president"), "split.group: has no effect on text"),
    "unknown group": (
        lambda r: r["evaluate"].update(group_by="decades"),
        "group_by: documents have no meta 'decades'; did",
    ),
    "group of nothing": (
        lambda r: r["evaluate"].update(group_by="x"),
        "no meta 'x'; there are: decade, president, year",
    ),
    "unknown metric": (
        lambda r: r.update(gates=["val_loss <= 4"]),
        "nothing measured is called val_loss; there are: test.loss",
    ),
    "half a metric": (lambda r: r.update(gates=["bits_per_byte < 2"]), "did you mean test.bits_per_byte?"),
    "unknown bound": (
        lambda r: r.update(gates=["test.loss < baselines.xz"]),
        "nothing measured is called baselines.xz",
    ),
    "a path for a name": (lambda r: r.update(name="../x"), "is not a recipe name"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_value_is_one_clear_line(write, change, message):
    recipe = yaml.safe_load(yaml.safe_dump(TINY))
    change(recipe)
    text = write(yaml.safe_dump(recipe))
    assert message in text
    assert "\n" not in text


def test_all_contradictions_are_told_at_once(write):
    recipe = yaml.safe_load(yaml.safe_dump(TINY))
    recipe["train"]["sequence"], recipe["split"]["test"] = 128, 0
    text = write(yaml.safe_dump(recipe))
    assert "train.sequence" in text
    assert "split.test" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", "is a mapping"), ("a: [", "not valid YAML"), (b"\xff\xfe\x00a", "not valid YAML"), ("", "mapping")],
)
def test_a_file_that_is_no_recipe(write, text, message):
    assert message in write(text)


def test_the_page_of_all_keys_is_up_to_date():
    written = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    assert written == page(), "python -m pipelines.recipe.reference > docs/recipes.md"
