"""`metroline init`: the recipe of one's own, its names and paths, and its data pinned anew."""

import os
import re
from pathlib import Path

import pytest

from pipelines.recipe.load import load as load_recipe
from tests.pipelines.line.scratch_project import RECIPE, invoke, plain


@pytest.mark.parametrize(
    ("params", "after"),
    [
        ("recipes:\n- one\n- two\n", "recipes:\n- one\n- two\n- mine\n"),
        (
            "# all\nrecipes:\n  - one # first\n\n  # then\n  - two\nx: 1\n",
            "# all\nrecipes:\n  - one # first\n\n  # then\n  - two\n  - mine\nx: 1\n",
        ),
        ("x: 1\n", "x: 1\nrecipes:\n- mine\n"),
        ("recipes:\n", "recipes:\n- mine\n"),
        ("recipes: [one, two]\n", None),
        ("recipes: [one", None),
    ],
)
def test_init_adds_to_params(project: Path, params: str, after: str | None) -> None:
    Path("corpus.txt").write_text("some text\n")
    Path("params.yaml").write_text(params)
    done = invoke("init", "mine", "--data", "corpus.txt")
    if after is None:
        assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
        assert "params.yaml" in done.stderr
        assert not Path("pipelines/recipes/mine.yaml").exists()
        assert Path("params.yaml").read_text() == params
    else:
        assert done.exit_code == 0, done.stderr
        assert Path("params.yaml").read_text() == after


@pytest.mark.parametrize("name", ["plain", "with space", "quote'\"s", "colon: #hash", "näme", "- dash", "{brace}"])
def test_init_takes_any_path(project: Path, name: str) -> None:
    folder = project / name
    folder.mkdir()
    for index in range(100):
        (folder / f"{index}.txt").write_text(f"text {index}")
    done = invoke("init", "mine", "--data", str(folder))
    assert done.exit_code == 0, done.stderr
    recipe = load_recipe("mine")
    assert (recipe.source.path, recipe.split.method) == (name, "hash")
    text = Path("pipelines/recipes/mine.yaml").read_text()
    (folder / "0.txt").write_text("another text")
    done = invoke("init", "mine", "--data", str(folder), "--update")
    assert done.exit_code == 0, done.stderr
    again = Path("pipelines/recipes/mine.yaml").read_text()
    assert again != text
    assert again.replace(load_recipe("mine").source.sha256, recipe.source.sha256) == text
    moved = folder.rename(project / "elsewhere")
    assert invoke("init", "mine", "--data", str(moved), "--update").exit_code == 0
    assert load_recipe("mine").source.path == "elsewhere"
    invoke("status", "mine")


@pytest.mark.parametrize("name", ["123", "1e3", "017", "on", "null", "2024-01-01"])
def test_init_takes_names_that_yaml_reads_as_something_else(project: Path, name: str) -> None:
    Path("corpus.txt").write_text("some text\n")
    done = invoke("init", name, "--data", "corpus.txt")
    assert done.exit_code == 0, done.stderr
    assert f"{name} stale" in plain(invoke("status", name, "--url", "http://127.0.0.1:1").stdout)
    assert "one stale" in plain(invoke("status", "one", "--url", "http://127.0.0.1:1").stdout)


def test_an_unquoted_name_in_params_is_refused(project: Path) -> None:
    Path("pipelines/recipes/123.yaml").write_text(Path("pipelines/recipes/one.yaml").read_text())
    Path("params.yaml").write_text("recipes:\n- one\n- 123\n")
    for command in (["run", "123"], ["run", "one"], ["status"], ["init", "mine", "--data", "params.yaml"]):
        done = invoke(*command)
        assert done.exit_code == 1, command
    said = "error: params.yaml: entry 2 of `recipes` is a number to YAML: 123"
    assert invoke("run", "123").stderr == f"{said} (a recipe's name goes into quotes there, as - '2024')\n"


def test_update_changes_a_source_on_one_line(project: Path) -> None:
    Path("corpus.txt").write_text("some text\n")
    Path("folder").mkdir()
    Path("folder/other.txt").write_text("other text\n")
    recipe = Path("pipelines/recipes/one.yaml")
    before = recipe.read_text().replace('"', "")
    before = before.replace("0" * 64, "a" * 64)
    recipe.write_text(before)
    assert "source: {kind: file, path: corpus.txt, sha256:" in before
    assert invoke("init", "one", "--data", "corpus.txt", "--update").exit_code == 0
    first = load_recipe("one").source.sha256
    assert recipe.read_text() == before.replace("a" * 64, first)
    assert invoke("init", "one", "--data", "folder", "--update").exit_code == 0
    source = load_recipe("one").source
    assert recipe.read_text() == before.replace("a" * 64, source.sha256).replace("corpus.txt", "folder")


def test_one_file_is_cut_by_position(project: Path) -> None:
    Path("corpus.txt").write_text("some text\n")
    assert invoke("init", "mine", "--data", "corpus.txt").exit_code == 0
    assert load_recipe("mine").split.method == "tail"


@pytest.mark.parametrize(
    ("files", "method"),
    [
        ({f"{number}.txt": "text" for number in range(25)}, "tail"),
        ({"a.jsonl": '{"text": "x"}\n' * 99}, "tail"),
        ({"a.jsonl": '{"body": "x"}\n' * 60, "b.ndjson": '{"text": "x"}\n' * 40}, "hash"),
        ({"a.jsonl": '{"text": "x"}\n' * 60, **{f"{number}.txt": "text" for number in range(40)}}, "hash"),
        ({"a.parquet": "not Parquet"}, "hash"),
    ],
)
def test_few_documents_are_cut_by_position(project: Path, files: dict[str, str], method: str) -> None:
    for name, text in files.items():
        Path("texts").mkdir(exist_ok=True)
        (Path("texts") / name).write_text(text)
    done = invoke("init", "mine", "--data", "texts")
    assert (done.exit_code, load_recipe("mine").split.method) == (0, method), done.stderr


def test_init_says_what_counts_and_keeps_a_links_name(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = tmp_path_factory.mktemp("store")
    (store / "0f3a9c").write_text("some text\n")
    (store / "v1").mkdir()
    (store / "v1/a.txt").write_text("some text\n")
    (store / "v1/b.csv").write_text("a,b\n")
    (store / "train.txt").symlink_to("0f3a9c")
    (store / "current").symlink_to("v1")
    (project / "inside").symlink_to(store / "v1")
    for name, path, kept, told in [
        ("one", store / "train.txt", str(store / "train.txt"), "1 file, 0 kB\n"),
        ("two", store / "current", str(store / "current"), "1 file, 0 kB; left out: 1 .csv\n"),
        ("three", Path("inside"), "inside", "1 file, 0 kB; left out: 1 .csv\n"),
        ("four", Path("inside/../train.txt"), str(project / "inside/../train.txt"), "1 file, 0 kB\n"),
    ]:
        done = invoke("init", f"my-{name}", "--data", str(path))
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith(told)
        assert project / load_recipe(f"my-{name}").source.path == project / kept
    assert invoke("init", "my-two", "--data", str(store / "current"), "--update").stdout.startswith(
        "1 file, 0 kB; left"
    )


def test_init_of_a_path_that_is_not_utf8(project: Path) -> None:
    folder = project / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "a.txt").write_text("some text")
    done = invoke("init", "mine", "--data", str(folder))
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert r"caf\xe9 (rename it" in done.stderr


def test_update_wants_a_recipe_of_own_files(project: Path) -> None:
    Path("corpus.txt").write_text("some text\n")
    source = 'source: {kind: pypi, package: a==1, sha256: "%s", members: "*"}' % ("0" * 64)
    text = re.sub("source: .*", source, RECIPE % ("0" * 64))
    Path("pipelines/recipes/two.yaml").write_text(text)
    done = invoke("init", "two", "--data", "corpus.txt", "--update")
    assert "takes its data from a pypi source" in done.stderr
