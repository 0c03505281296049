"""Archives: what matches comes out, nothing lands outside, damage and tricks are one clear line."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from base.errors import MetrolineError
from data.fetch.archives import unpack


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def link(name: str, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, to
    return info


FILES = {"top/a/1.txt": b"one", "top/a/b/2.txt": b"two", "top/note.md": b"note"}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_matching_members_less_their_common_folder(tmp_path, kind):
    if kind == "zip":
        archive = make_zip(tmp_path / "x.zip", FILES)
    else:
        archive = make_tar(tmp_path / "x.tar.gz", [(tarfile.TarInfo(name), body) for name, body in FILES.items()])
    written = unpack(archive, "*.txt", tmp_path / "out", name="demo")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == ["1.txt", "b/2.txt"]
    assert (tmp_path / "out/b/2.txt").read_bytes() == b"two"


def test_a_member_whose_name_is_not_utf8_is_written_with_backslashes(tmp_path):
    archive = make_tar(tmp_path / "x.tar.gz", [(tarfile.TarInfo("caf\udce9.txt"), b"coffee")])
    [written] = unpack(archive, "*.txt", tmp_path / "out", name="demo")
    assert (written.name, written.read_bytes()) == (r"caf\xe9.txt", b"coffee")


@pytest.mark.parametrize("evil", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_refuses_paths_that_lead_outside(tmp_path, evil, kind):
    inner = tmp_path / "deep" / "out"
    files = {"good.txt": b"good", evil: b"evil"}
    if kind == "zip":
        archive = make_zip(tmp_path / "x.zip", files)
    else:
        archive = make_tar(tmp_path / "x.tar.gz", [(tarfile.TarInfo(name), body) for name, body in files.items()])
    with pytest.raises(MetrolineError, match=r"demo: x\..* holds .*evil.txt', a path outside of it .*do not trust"):
        unpack(archive, "good.txt", inner, name="demo")
    assert not inner.exists()
    assert sorted(path.name for path in tmp_path.rglob("*evil*")) == []


def test_refuses_links(tmp_path):
    archive = make_tar(tmp_path / "x.tar.gz", [(link("passwords.txt", "/etc/passwd"), b"")])
    with pytest.raises(MetrolineError, match=r"passwords\.txt is not a plain file"):
        unpack(archive, "*.txt", tmp_path / "out", name="demo")


def test_file_below_a_link_stays_inside(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    members = [(link("top/door", str(outside)), b""), (tarfile.TarInfo("top/door/x.txt"), b"in")]
    unpack(make_tar(tmp_path / "x.tar.gz", members), "*x.txt", tmp_path / "out", name="demo")
    assert list(outside.iterdir()) == []
    assert (tmp_path / "out/x.txt").read_bytes() == b"in"


def test_no_match_says_what_there_is(tmp_path):
    archive = make_zip(tmp_path / "x.zip", FILES)
    with pytest.raises(MetrolineError, match=r"no file in x\.zip matches '\*\.csv' .*3 files begin with top/a/1\.txt"):
        unpack(archive, "*.csv", tmp_path / "out", name="demo")


def test_not_an_archive_or_a_damaged_one(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"hello")
    whole = make_zip(tmp_path / "y.zip", {"a.txt": b"x" * 5000}).read_bytes()
    (tmp_path / "y.zip").write_bytes(whole.replace(b"x" * 5000, b"x" * 4999 + b"y"))
    tar = make_tar(tmp_path / "z.tar.gz", [(tarfile.TarInfo("a.txt"), bytes(range(256)) * 300)]).read_bytes()
    (tmp_path / "z.tar.gz").write_bytes(tar[: len(tar) // 2])
    for name in ("x.zip", "y.zip", "z.tar.gz"):
        with pytest.raises(MetrolineError, match=f"demo: cannot unpack {name}: "):
            unpack(tmp_path / name, "*", tmp_path / "out", name="demo")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("data.fetch.archives.LARGEST", 100_000)
    body = bytes(10_000_000)
    tar = make_tar(tmp_path / "x.tar.gz", [(tarfile.TarInfo("a.txt"), body)])
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", body)
    for path in (tar, tmp_path / "x.zip"):
        with pytest.raises(MetrolineError, match=r"demo: cannot unpack x\..*: it holds more than .* bytes"):
            unpack(path, "*", tmp_path / "out", name="demo")
    assert not (tmp_path / "out").exists()


def test_a_zip_that_lies_about_sizes(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(100_000))
    raw = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(raw.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(MetrolineError, match=r"cannot unpack x\.zip"):
        unpack(tmp_path / "x.zip", "*", tmp_path / "out", name="demo")


def test_one_path_twice(tmp_path):
    members = [(tarfile.TarInfo("a.txt"), b"one"), (tarfile.TarInfo("a.txt"), b"two")]
    with pytest.raises(MetrolineError, match=r"x.tar.gz holds 'a.txt' twice"):
        unpack(make_tar(tmp_path / "x.tar.gz", members), "*", tmp_path / "out", name="demo")


def test_refuses_links_of_a_zip(tmp_path):
    info = zipfile.ZipInfo("door.txt")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(MetrolineError, match=r"door\.txt is not a plain file"):
        unpack(tmp_path / "x.zip", "*", tmp_path / "out", name="demo")
