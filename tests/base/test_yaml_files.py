"""YAML as people write it: what PyYAML would take in silence."""

import pytest
import yaml

from base.errors import MetrolineError
from base.yaml_files import Loader, quoted, read_mapping, read_yaml, with_values


@pytest.fixture
def read(tmp_path):
    def read(text: str | bytes):
        (tmp_path / "x.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return read_yaml(tmp_path / "x.yaml")

    return read


def test_words_stay_words(read):
    assert read("compile: off\na: [yes, No, on, n]\nb: true\nc: False\nd: null") == {
        "compile": "off", "a": ["yes", "No", "on", "n"], "b": True, "c": False, "d": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["1e3", "1e-3", "1E5", "017", "08", "0o17", "0x1f", "0b11", "1_000", "-.5e+1", "1.", ".inf", "-.INF",
     ".nan", "+1", "0x", "1e", "on", "y", "null", "~", "true", "2024-01-01", "2024-1-1", "1.0.0", "speeches"],
)  # fmt: skip
def test_scalars_are_what_dvc_reads(read, text):
    from dvc.utils.serialize import parse_yaml

    assert repr(read(f"a: {text}")) == repr(parse_yaml(f"a: {text}", "x.yaml"))


def test_times_are_text(read):
    assert read("a: [12:30, 12:30:45]") == {"a": ["12:30", "12:30:45"]}


@pytest.mark.parametrize(
    "text",
    ["plain", "with space", "a, b", "]", "{x}", "#x", "a: b", "a #b", "1e3", "017", "on", "null", "2024-13-45",
     "2024-01-01", "", " ", "- x", "'", '"', "\\", "näme", "\x7f", "\x85", "a\nb", "!x", "&x", "*x",
     "%x", "@x", "=", "<<", "0" * 64],
)  # fmt: skip
def test_any_text_survives_quoting(read, text):
    from dvc.utils.serialize import parse_yaml

    for file in (f"a: {quoted(text)}\n", f"{{a: {quoted(text)}, b: [{quoted(text)}]}}\n", f"a:\n  - {quoted(text)}\n"):
        value = read(file)["a"]
        assert value in (text, [text])
        assert parse_yaml(file, "x.yaml")["a"] == value
    assert quoted("speeches") == "speeches"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("source: {kind: file, path: a, sha256: 'b'} # c\n", "source: {kind: file, path: P, sha256: S} # c\n"),
        (
            's: {path: x}\nsource:\n  path: "a" # c\n  sha256: b\n',
            "s: {path: x}\nsource:\n  path: P # c\n  sha256: S\n",
        ),
        ("source:\n  path: >-\n    a\n    b\n  sha256: b\n", "source:\n  path: P\n  sha256: S\n"),
        ('{"source": {"sha256": "b",\n "path": "a"}}', '{"source": {"sha256": S,\n "path": P}}'),
    ],
)
def test_values_change_however_they_are_written(before, after):
    new = {"path": "new, one", "sha256": "1e3"}
    text = with_values(before, "source", new)
    assert {key: yaml.load(text, Loader)["source"][key] for key in new} == new
    assert text == after.replace("P", '"new, one"').replace("S", '"1e3"')


@pytest.mark.parametrize(
    "text", ["other: {}\n", "a: &a {path: x, sha256: y}\nsource: {<<: *a}\n", "source: {path: x}\n"]
)
def test_values_that_stand_elsewhere(text):
    with pytest.raises(LookupError):
        with_values(text, "source", {"path": "new", "sha256": "z"})


def test_anchors_and_merges(read):
    assert read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}")["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {}\nmodel: {}\ntrain: {}\n", "x.yaml: not valid YAML: 'train' stands twice .*line 3"),
        ("train: {lr: 1, lr: 2}\n", "'lr' stands twice"),
        ("a: [", "not valid YAML"),
        (b"\xff\xfe", "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML: could not determine a constructor"),
        ("? [a]\n: 1\n", "not valid YAML"),
        ("a: 2024-13-45\n", "not valid YAML: month must be in 1..12"),
        ("[" * 5000, "not valid YAML"),
        ("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", "x.yaml: line 2: a merge conflict is left in it"),
    ],
)
def test_one_line_for_each_problem(read, text, message):
    with pytest.raises(MetrolineError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MetrolineError, match=r"x\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), (" \n# x\n", "is empty"), ("- a\n", "not a mapping")])
def test_what_must_be_a_mapping(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(MetrolineError, match=rf"x\.yaml: {message} \(write one\)"):
        read_mapping(tmp_path / "x.yaml", "write one")
