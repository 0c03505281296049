"""Which of the user's files count, under which names, and what is told about the rest: links, endings, odd names."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from base.errors import MetrolineError
from base.files import read_json
from data.fetch.folders import matches
from data.fetch.names import one_line
from data.fetch.own_files import OwnFiles, own_files
from data.fetch.sources import HttpsSource, WebFile, fetch, pin
from data.text.documents import DocumentsConfig, raw_files, read


def own(folder: Path, glob: str = "**/*") -> OwnFiles:
    return own_files(folder, glob, name="test")


def names(folder: Path, glob: str = "**/*") -> list[str]:
    found = own(folder, glob)
    return [str(found.name(file)) for file in found.files]


def fill(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


def test_a_linked_file_keeps_its_own_name(tmp_path):
    fill(tmp_path, "blobs/0f3a9c", "blobs/77")
    (tmp_path / "train.txt").symlink_to("blobs/0f3a9c")
    assert names(tmp_path / "train.txt") == ["train.txt"]
    fetch(pin(tmp_path / "train.txt"), tmp_path / "raw", name="test")
    assert (tmp_path / "raw/files/train.txt").read_text() == "blobs/0f3a9c"
    assert not (tmp_path / "raw/files/train.txt").is_symlink()


def test_linked_folders_are_entered(tmp_path):
    fill(tmp_path / "other", "b.txt", "deep/c.txt", "d.csv")
    folder = fill(tmp_path / "own", "z.txt")
    (folder / "more").symlink_to(tmp_path / "other")
    assert names(folder) == ["more/b.txt", "more/deep/c.txt", "z.txt"]
    assert own(folder).summary() == "3 files, 0 kB; left out: 1 .csv"
    (tmp_path / "alias").symlink_to(folder)
    assert names(tmp_path / "alias") == names(folder)
    assert pin(tmp_path / "alias").sha256 == pin(folder).sha256


def test_links_in_a_ring_end_and_a_folder_goes_by_its_own_name(tmp_path):
    folder = fill(tmp_path / "own", "b/x.txt", "c/y.txt")
    (folder / "a").symlink_to(folder / "b")
    (folder / "b/up").symlink_to(folder)
    (folder / "c/side").symlink_to(folder / "b")
    assert names(folder) == ["b/x.txt", "c/y.txt"]
    assert own(folder).left_out == {"repeated folder": 3}


def test_whatever_is_left_out_is_told(tmp_path):
    folder = fill(
        tmp_path / "own", "a.txt", "b.TXT", "n.md", "m.csv", "o.CSV", "x.csv.gz", "x.tar.gz", "LICENSE", ".git/k"
    )
    (folder / "gone.txt").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.txt")
    assert names(folder) == ["a.txt", "b.TXT"]
    assert own(folder).summary() == (
        "2 files, 0 kB; left out: 2 .csv, 1 (no ending), 1 .csv.gz, 1 .md, 1 .tar.gz, 1 broken link, 1 special file"
    )
    assert fetch(pin(folder), tmp_path / "raw", name="test") == own(folder).summary()
    assert own(folder, "*.txt").summary() == "1 file, 0 kB; left out: 1 broken link, 1 special file"


def test_a_folder_without_text_says_what_is_there(tmp_path):
    with pytest.raises(MetrolineError, match=r"no \.txt, .* file in .*own \(looked for \*\*/\*; there: 2 \.csv\)"):
        own(fill(tmp_path / "own", "a.csv", "b/c.csv"))


def test_fetched_files_that_hold_no_text_are_told(tmp_path, site):
    site.files |= {"/a.txt": b"a", "/b.csv": b"b"}
    wanted = [
        WebFile(url=site.address + path, sha256=hashlib.sha256(body).hexdigest()) for path, body in site.files.items()
    ]
    told = fetch(HttpsSource(kind="https", files=tuple(wanted)), tmp_path / "raw", name="test")
    assert told == "2 files, of which prepare leaves out 1 .csv"
    told = fetch(HttpsSource(kind="https", files=tuple(wanted)), tmp_path / "raw", name="test", suffixes=(".csv",))
    assert told == "2 files, of which prepare leaves out 1 .txt"
    told = fetch(HttpsSource(kind="https", files=tuple(wanted)), tmp_path / "raw", name="test", suffixes=("",))
    assert told == ""


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    folder = fill(tmp_path / "own", "a.txt", "b/c.txt")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(MetrolineError, match=r"cannot read .*own/b: Permission denied"):
        own(folder)


def test_a_file_name_that_is_not_utf8_is_written_with_backslashes(tmp_path):
    folder = fill(tmp_path / "own", "a.txt")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("coffee")
    (folder / "two\nlines.txt").write_text("lines")
    assert fetch(pin(folder), tmp_path / "raw", name="test") == "3 files, 0 kB"
    assert list(read_json(tmp_path / "raw/source.json")["files"]) == ["a.txt", r"caf\xe9.txt", r"two\x0alines.txt"]
    documents = {entry.id: entry.text for entry in read(raw_files(tmp_path / "raw"), DocumentsConfig())}
    assert documents[r"caf\xe9.txt"] == "coffee"


def test_pin_of_a_name_that_is_not_utf8_is_what_sha256sum_says(tmp_path):
    folder = fill(tmp_path / "own", "a.txt", "\ue000.txt")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("coffee")
    command = r"find -L . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=True)
    assert pin(folder).sha256 == done.stdout.split()[0].decode()


def test_two_names_that_would_be_written_alike(tmp_path):
    folder = fill(tmp_path / "own", r"caf\xe9.txt")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("coffee")
    with pytest.raises(MetrolineError, match=r"two files in .*own are called caf\\xe9\.txt \(rename one\)"):
        fetch(pin(folder), tmp_path / "raw", name="test")


def test_a_path_that_a_recipe_cannot_hold(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    fill(folder, "a.txt")
    with pytest.raises(MetrolineError, match=r"a recipe cannot hold the path .*caf\\xe9 \(rename it"):
        pin(folder)


def test_a_file_that_changes_while_it_is_copied_is_not_what_is_pinned(tmp_path, monkeypatch):
    folder = fill(tmp_path / "own", "a.txt", "b.txt")
    source = pin(folder)
    copyfile = shutil.copyfile

    def late(file, copy):
        (folder / "b.txt").write_text("changed")
        return copyfile(file, copy)

    monkeypatch.setattr(shutil, "copyfile", late)
    with pytest.raises(MetrolineError, match="is not what the recipe pins"):
        fetch(source, tmp_path / "raw", name="test")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("**/*", ["a/b/z.txt", "a/y.txt", "x.txt"]),
        ("*", ["x.txt"]),
        ("a/*", ["a/y.txt"]),
        ("a/**/*.txt", ["a/b/z.txt", "a/y.txt"]),
        ("**/b/*", ["a/b/z.txt"]),
        ("./*.txt", ["x.txt"]),
        ("*/[yz].txt", ["a/y.txt"]),
    ],
)
def test_globs(tmp_path, glob, found):
    folder = fill(tmp_path / "own", "x.txt", "a/y.txt", "a/b/z.txt")
    assert (
        names(folder, glob)
        == found
        == sorted(str(path.relative_to(folder)) for path in folder.glob(glob) if path.is_file())
    )


def test_any_glob_ends():
    assert not matches(("a",) * 8, ("**", "b") * 3)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("naïve 日本.txt", "naïve 日本.txt"),
        ("a\udcff", r"a\xff"),
        ("\ud83d", r"\ud83d"),
        ("a\u2028b\x7f", r"a\u2028b\x7f"),
    ],
)
def test_names_are_one_line_of_utf8(name, shown):
    assert one_line(name) == shown
    assert len(shown.encode().decode().splitlines()) == 1
