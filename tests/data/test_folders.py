"""Files with labels: from folders or names, in natural order, and none without a label."""

import pytest
from pydantic import ValidationError

from base.errors import MetrolineError
from data.folders import AUDIO, FoldersConfig, read_folders
from data.labels import ordered


def test_folders_are_labels(tmp_path):
    files = {}
    for name in ("train/cat/1.png", "train/dog/2.PNG", "test/cat/3.jpg", "train/cat/note.txt"):
        files[name] = tmp_path / name.replace("/", "-")
        files[name].write_bytes(name[-5:].encode())
    found = list(read_folders(files, FoldersConfig()))
    assert [(example.id, example.label, example.raw()) for example in found] == [
        ("test/cat/3.jpg", "cat", b"3.jpg"),
        ("train/cat/1.png", "cat", b"1.png"),
        ("train/dog/2.PNG", "dog", b"2.PNG"),
    ]


def test_names_are_labels(tmp_path):
    config = FoldersConfig(label=r"(?P<label>[0-9])_(?P<speaker>[a-z]+)_[0-9]+[.]wav$")
    files = {f"recordings/{name}": tmp_path / name for name in ("7_theo_12.wav", "0_jackson_0.wav")}
    found = list(read_folders(files, config, AUDIO))
    assert [(example.label, example.meta) for example in found] == [
        ("0", {"speaker": "jackson"}),
        ("7", {"speaker": "theo"}),
    ]
    with pytest.raises(MetrolineError, match=r"recordings/x.wav: label matches nothing"):
        list(read_folders({"recordings/x.wav": tmp_path}, config, AUDIO))


def test_no_label_and_no_file(tmp_path):
    with pytest.raises(MetrolineError, match=r"1.png: lies in no folder"):
        list(read_folders({"1.png": tmp_path}, FoldersConfig()))
    with pytest.raises(
        MetrolineError, match=r"no fetched file matches 'x/\*' and is .png, .jpg, .jpeg \(there are: a/1.png"
    ):
        list(read_folders({"a/1.png": tmp_path}, FoldersConfig(files="x/*")))


@pytest.mark.parametrize("pattern", ["(", "no group", "(?P<other>x)"])
def test_bad_pattern(pattern):
    with pytest.raises(ValidationError):
        FoldersConfig(label=pattern)


def test_labels_are_sorted_as_people_do():
    assert ordered(["10", "9", "1", "9"]) == ("1", "9", "10")
    assert ordered(["b2", "b10", "a", "1"]) == ("1", "a", "b2", "b10")
    assert ordered(["01", "1"]) == ("01", "1")
    assert ordered(["a", "b"], given=["b", "a", "c"]) == ("b", "a", "c")


@pytest.mark.parametrize(
    ("found", "given", "message"),
    [
        (["cat", "dgo"], ["cat", "dog"], r"the label 'dgo' is not among the listed ones \(did you mean dog\?\)"),
        (["a"], ["a", "a"], "the label 'a' is listed twice"),
        (["a", "a"], [], "only one label: 'a'"),
        ([], [], "no labels"),
    ],
)
def test_labels_refused(found, given, message):
    with pytest.raises(MetrolineError, match=message):
        ordered(found, given)
