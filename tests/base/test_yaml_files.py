"""YAML as people write it: what PyYAML would take in silence."""

import pytest

from base.errors import MetrolineError
from base.yaml_files import read_yaml


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
    ],
)
def test_one_line_for_each_problem(read, text, message):
    with pytest.raises(MetrolineError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MetrolineError, match=r"x\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "x.yaml")
