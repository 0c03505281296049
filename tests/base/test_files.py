"""Reading what others wrote: a JSON file that must hold an object is that, or one clear line."""

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from base.errors import MetrolineError
from base.files import DiskFull, atomic_folder, atomic_path, read_object, write_json, writing


def test_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"é": [1, null]}', encoding="utf-8")
    assert read_object(tmp_path / "a.json") == {"é": [1, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.json is not valid JSON"),
        (b'{"a": 1', "a.json is not valid JSON"),
        (b'{"\xff": 1}', "a.json is not valid JSON: 'utf-8' codec can't decode"),
        (b'{"a": ' + b"[" * 100_000, "a.json is not valid JSON: maximum recursion depth"),
        (b"[1]", "a.json is not a JSON object"),
        (b"null", "a.json is not a JSON object"),
        (None, ": a.json is missing"),
    ],
)
def test_everything_else_is_one_line_with_the_hint(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MetrolineError) as caught:
        read_object(path, hint="copy it again")
    text = str(caught.value)
    assert message in text
    assert str(tmp_path) in text
    assert text.endswith("(copy it again)")
    assert "\n" not in text


def test_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(MetrolineError, match=r"a\.json cannot be read: Is a directory"):
        read_object(tmp_path / "a.json")


WRITERS = {
    "text": lambda path: path.write_text("x" * 50_000),
    "numpy": lambda path: np.save(path.open("wb"), np.zeros(50_000, np.uint8)),
    "safetensors": lambda path: save_file({"a": np.zeros(50_000, np.uint8)}, path),
    "copy": lambda path: shutil.copyfile(np.__file__, path),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path, full_disk, writer) -> None:
    path = tmp_path / "a.bin"
    path.write_text("before")
    with full_disk(10_000), pytest.raises(DiskFull) as caught, atomic_path(path) as temporary:
        writer(temporary)
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert "\n" not in str(caught.value)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.bin", "before")]


def test_in_a_folder_the_file_is_named_where_it_will_be(tmp_path: Path, full_disk) -> None:
    folder = tmp_path / "out"
    with full_disk(10_000), pytest.raises(DiskFull) as caught, atomic_folder(folder) as temporary:
        write_json(temporary / "b.json", "x" * 50_000)
    assert (
        str(caught.value) == f"cannot write {folder}/b.json: File too large (make room and run the same command again)"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_what_came_of_a_full_disk_is_one(tmp_path: Path, number: int) -> None:
    def fail() -> None:
        try:
            raise OSError(number, "")
        except OSError as error:
            raise RuntimeError("the archive could not be closed") from error

    with pytest.raises(DiskFull, match=r"cannot write .*/x: (No space left|Disk quota)"), writing(tmp_path / "x"):
        fail()


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), ValueError("a bug"), MetrolineError("no data")])
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, writing(tmp_path / "x"):
        raise error
    assert caught.value is error
