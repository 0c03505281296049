"""What init says of data that it cannot take, or that may be several things: one line, and nothing is written."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from base.errors import MetrolineError
from pipelines.recipe.new import create
from pipelines.recipe.own.columns import scan
from pipelines.recipe.own.look import look

IRIS = "width,length,kind\n" + "".join(f"{n % 7}.5,{n % 5}.25,{'ab'[n % 2]}\n" for n in range(40))


def files(root: Path, **contents: str) -> Path:
    for name, text in contents.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png" and text == "image":
            Image.new("L", (80, 40)).save(path)
        else:
            path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("contents", "asked", "message"),
    [
        ({"a_csv": ""}, {"target": "y"}, "no row of values"),
        ({"a_csv": "x,y\n"}, {"target": "y"}, "no row of values"),
        ({"a_csv": IRIS}, {}, "a table of width, length, kind (say which one to predict: --target COLUMN)"),
        ({"a_jsonl": '{"body": "x", "y": 1}\n'}, {}, "a table of body, y (say which one to predict: --target"),
        ({"a_csv": IRIS}, {"target": "kindd"}, "no column 'kindd' (did you mean kind?)"),
        ({"a_csv": "x,y\n1,a\n2,a\n"}, {"target": "y"}, "the target y has one value only: a"),
        ({"a_csv": "x,y\n1,\n2,\n"}, {"target": "y"}, "the target y has no value"),
        ({"a_csv": "x,y,z\n" + "1,2.5,2.5\n2,3.5,3.5\n"}, {"target": "y"}, "the column 'z' tells the target"),
        ({"a_csv": "x,y\n1\n"}, {"target": "y"}, "a.csv:2: 1 values for 2 columns"),
        ({"a_csv": IRIS, "b_csv": "width,kind\n1,a\n"}, {"target": "kind"}, "b.csv:2: no column 'length'"),
        ({"a_csv": IRIS}, {"target": "kind", "task": "regression"}, "has 'a', which is no number"),
        ({"a_csv": IRIS}, {"target": "kind", "drop": ["legnth"]}, "did you mean length?"),
        ({"a_csv": IRIS}, {"target": "kind", "drop": ["width", "length"]}, "no column is left"),
        ({"a_csv": IRIS}, {"drop": ["width"]}, "name its --target COLUMN too"),
        ({"a_csv": IRIS}, {"target": "kind", "task": "language-modelling"}, "has no --target"),
        ({"a_csv": IRIS}, {"encoding": "latin-1"}, "name its --target COLUMN too"),
        ({"a_csv": IRIS}, {"task": "language-modelling", "encoding": "latin-1"}, "no --drop and no --encoding"),
        ({"a_csv": IRIS}, {"target": "kind", "encoding": "latin-0"}, "--encoding latin-0: Python knows no encoding"),
        ({"a_csv": IRIS}, {"task": "language-modelling"}, "no .txt, .jsonl"),
        ({"a_txt": "x"}, {"task": "classification"}, "no table, no image and no clip for --task classification"),
        (
            {"a_csv": "x,age\n" + "".join(f"{n % 3}.5,{n % 30}\n" for n in range(90))},
            {"target": "age"},
            "30 whole numbers in 90 rows: classes, or amounts? (say --task classification or --task regression)",
        ),
        (
            {"a_csv": "x,name\n" + "".join(f"{n % 3}.5,n{n}\n" for n in range(30))},
            {"target": "name"},
            "the target name has 30 values in 30 rows",
        ),
        ({"cat__a_png": "image", "b_png": "image"}, {}, "b.png in no folder (the class is the folder"),
        ({"cat__a_png": "image", "cat__b_png": "image"}, {}, "one class only: cat 2"),
        ({"train__a_png": "image", "test__b_png": "image"}, {}, "the images lie in test, train, which are splits"),
        ({"cat__a_png": "image", "dog__b_png": "none"}, {}, "b.png: cannot be read as JPEG or PNG"),
        ({"cat__a_png": "image"}, {"task": "regression"}, "a regression's target is a number"),
        (
            {"cat__a_png": "image", "dog__b_png": "image", "labels_csv": "x,y\n1,2\n", "readme_txt": "x"},
            {},
            "2 images, 1 table, 1 text file: which of them is meant? (--task classification takes images",
        ),
        ({"a_pdf": "x", "b_md": "x"}, {}, "documents: 2 files, 0 kB (to be searched and cited: --task index)"),
        ({"a_doc": "x"}, {}, "there: 1 .doc"),
    ],
)
def test_one_line_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: dict[str, str], asked: dict[str, Any], message: str
) -> None:
    (tmp_path / "pipelines/recipes").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("recipes:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetrolineError) as caught:
        create("mine", files(tmp_path / "own", **contents), tmp_path, **asked)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "pipelines/recipes").iterdir())
    assert (tmp_path / "params.yaml").read_text() == "recipes:\n"


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(MetrolineError, match="there is no file or folder"):
        look(tmp_path / "no.csv", "mine", "y", None)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["yes", "no"] * 20, "classification"),
        (["1", "0"] * 20, "classification"),
        ([str(n % 10) for n in range(60)], "classification"),
        ([f"{n}.5" for n in range(40)], "regression"),
        ([str(n * n) for n in range(120)], "regression"),
        ([*(f"{n}.5" for n in range(40)), "NA"], "regression"),
    ],
)
def test_the_targets_values_say_the_task(tmp_path: Path, values: list[str], task: str) -> None:
    rows = "".join(f"{number * 7 % 11},{value}\n" for number, value in enumerate(values))
    found = look(files(tmp_path, a_csv="x,y\n" + rows), "mine", "y", None)
    assert found.said.endswith(f"→ {task}")
    assert f"kind: {task}" in found.values["task"]
    assert ("1 rows without it are left out" in found.said) == ("NA" in values)
    other = look(tmp_path, "mine", "y", "classification")
    assert other.values["task"] == "{kind: classification}"


def test_images_can_be_named_beside_other_files(tmp_path: Path) -> None:
    found = look(
        files(tmp_path, cat__a_png="image", dog__b_png="image", readme_txt="x"), "mine", None, "classification"
    )
    assert (found.template, found.values["channels"]) == ("images", "1")
    assert (found.values["height"], found.values["width"]) == ("32", "64")
    assert found.own.summary().endswith("left out: 1 .txt")


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    rows = "".join(f"{n % 7}.5,{('Köln', 'Ürzig')[n % 2]}\n" for n in range(60))
    (tmp_path / "a.csv").write_bytes(f"größe;ort\n{rows.replace(',', ';')}".encode("latin-1"))
    with pytest.raises(MetrolineError, match=r"not utf-8 \(byte 0xf6\).*--encoding"):
        look(tmp_path, "mine", "ort", None)
    found = look(tmp_path, "mine", "ort", None, encoding="latin-1")
    assert found.values["rows"] == "{delimiter: ;, encoding: latin-1}"
    assert "Köln" in found.said
    assert "encoding" not in look(files(tmp_path / "plain", a_csv=IRIS), "mine", "kind", None).values["rows"]


def test_columns_that_tell_rows_apart_are_no_input(tmp_path: Path) -> None:
    rows = "".join(f"{n + 1},id{n},,{n % 3}.5,{'ab'[n % 2]}\n" for n in range(30))
    found = look(files(tmp_path, a_csv="n,key,none,x,y\n" + rows), "mine", "y", None)
    assert found.values["drop"] == "[n, key, none]"
    assert "(not n: the row's number, key: another text in each row, none: empty)" in found.said


def test_gaps_are_texts_in_a_column_of_numbers_alone(tmp_path: Path) -> None:
    found = look(files(tmp_path, a_csv="x,c,y\n1,None,a\nNA,some,b\n3,None,a\n"), "mine", "y", None)
    assert scan(found.own, "y").config.missing == ("NA",)
