"""Archives whose members are pinned: any packing of the same files is taken, and nothing else."""

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from base.errors import MetrolineError, NetworkError
from data.fetch.fetched import fetched_members
from data.fetch.sources import HttpsSource, WebFile, fetch
from data.folders import AUDIO, FoldersConfig, read_folders
from tests.data.fetch.web_site import Fault

FILES = {"a/2.png": b"two", "a/10.png": b"ten", "a-b/1.png": b"", "b/\u00fc.png": bytes(70_000)}
LIST = "".join(
    f"{hashlib.sha256(FILES[path]).hexdigest()}  {path}\n" for path in sorted(FILES, key=lambda path: path.encode())
)
PIN = hashlib.sha256(LIST.encode()).hexdigest()


def tar(files: dict[str, bytes], top: str = "repo-1f/", mode: str = "w:gz", **link: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for path, body in files.items():
            info = tarfile.TarInfo(top + path)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
        for path, to in link.items():
            info = tarfile.TarInfo(top + path)
            info.type, info.linkname = tarfile.SYMTYPE, to
            archive.addfile(info)
    return file.getvalue()


def zipped(files: dict[str, bytes], top: str = "other-2e/") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, body in files.items():
            archive.writestr(top + path, body)
    return file.getvalue()


@pytest.fixture
def get(site, tmp_path):
    """Fetch an archive with these bytes; where its files are."""

    def run(raw: bytes, pin: str = PIN, members: str = "*.png", name: str = "raw") -> Path:
        site.files["/x.tar.gz"] = raw
        file = WebFile(url=f"{site.address}/x.tar.gz", members=members, members_sha256=pin)
        told = fetch(HttpsSource(kind="https", files=(file,)), tmp_path / name, name="demo", suffixes=(".png",))
        assert told == ""  # none of the members is left out
        return tmp_path / name

    return run


def test_every_packing_gives_the_same_bytes(get, cache):
    backwards = dict(reversed(FILES.items()))
    packings = [
        tar(FILES),
        tar(backwards, mode="w:xz"),
        zipped(FILES),
        tar({**FILES, "make.py": b"x"}),
        tar(FILES, top=""),
    ]
    folders = [get(raw, name=f"raw{number}") for number, raw in enumerate(packings)]
    bytes_ = {(folder / "files/x.tar.gz.members.zip").read_bytes() for folder in folders}
    assert len(bytes_) == 1
    assert {path.name for folder in folders for path in (folder / "files").iterdir()} == {"x.tar.gz.members.zip"}
    found = fetched_members(folders[0])
    assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert [example.label for example in read_folders(found, FoldersConfig())] == ["a-b", "a", "a", "b"]
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize(
    "files",
    [
        {path: body for path, body in FILES.items() if path != "a/2.png"},
        {**FILES, "a/3.png": b"three"},
        {**FILES, "a/2.png": b"tow"},
        {("a/02.png" if path == "a/2.png" else path): body for path, body in FILES.items()},
    ],
)
def test_other_members_are_refused(get, tmp_path, cache, files):
    with pytest.raises(
        MetrolineError, match=rf"demo: the \d members of x.tar.gz .* the recipe pins {PIN} \(members are"
    ):
        get(tar(files))
    assert not (tmp_path / "raw").exists()
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []
    assert get(tar(FILES)).is_dir()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (tar({**FILES, "../../evil.png": b"x"}), r"evil.png', a path outside"),
        (tar({**FILES, "/etc/evil.png": b"x"}, top=""), r"evil.png', a path outside"),
        (tar(FILES, **{"door.png": "/etc/passwd"}), r"door.png is not a plain file"),
        (tar({"x.txt": b""}), r"no file in x.tar.gz matches"),
        (tar(FILES)[:-50], r"cannot unpack x.tar.gz"),
        (b"<html>sign in</html>", r"cannot unpack x.tar.gz"),
    ],
)
def test_tricks_and_damage(get, tmp_path, raw, message):
    with pytest.raises(MetrolineError, match=message):
        get(raw)
    assert not (tmp_path / "raw").exists()
    assert sorted(tmp_path.rglob("*evil*")) == []


def test_a_broken_download_begins_again(site, get):
    site.faults["/x.tar.gz"] = [Fault(break_after=100)]
    assert get(tar(FILES)).is_dir()
    assert site.ranges == ["", ""]


def test_members_in_two_archives_of_one_name(site, tmp_path):
    site.files |= {"/x.zip": zipped(FILES), "/y.zip": zipped(FILES)}
    for paths, problem in (((None, None), "a-b/1.png is there twice"), ((None, "more/y.zip"), "")):
        files = tuple(
            WebFile(url=f"{site.address}/{name}.zip", path=path, members="*.png", members_sha256=PIN)
            for name, path in zip("xy", paths, strict=True)
        )
        fetch(HttpsSource(kind="https", files=files), tmp_path / "raw", name="demo")
        if problem:
            with pytest.raises(MetrolineError, match=problem):
                fetched_members(tmp_path / "raw")
        else:
            assert {"a/2.png", "more/a/2.png"} <= fetched_members(tmp_path / "raw").keys()


SETS = {
    "spoken-digits": ("Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1", "*.wav",
                      "04e1baae96c6a26e39c623f2b01d0182ddae627ba0ac02a3cdc17ba2af99fd9b", 3_000),
    "mnist": ("rasbt/mnist-pngs/archive/d26bd33bf1e454dd15bd4fe8b8ba64c76308f91c", "*.png",
              "3d62da1e4b6209869fbc7bd0a3ecef4ffce3822eefa084cfb310997780165c31", 70_000),
}  # fmt: skip


@pytest.mark.network
@pytest.mark.parametrize("name", SETS)
def test_real_archives(name, tmp_path):
    path, members, pin, count = SETS[name]
    mirror = os.environ.get("METROLINE_MIRROR")
    file = WebFile(url=f"https://github.com/{path}.tar.gz", members=members, members_sha256=pin)
    try:
        fetch(
            HttpsSource(kind="https", files=(file,)),
            tmp_path / "raw",
            name=name,
            mirror=Path(mirror) if mirror else None,
        )
    except NetworkError as error:
        pytest.skip(f"neither a mirror nor the network has it: {error}")
    found = fetched_members(tmp_path / "raw")
    assert len(found) == count
    if name == "mnist":
        first = next(iter(read_folders(found, FoldersConfig(files="train/7/*"))))
        assert (first.label, first.raw()[:4]) == ("7", b"\x89PNG")
    else:
        pattern = r"(?P<label>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)[.]wav$"
        labels = {example.label for example in read_folders(found, FoldersConfig(label=pattern), AUDIO)}
        assert len(labels) == 10
