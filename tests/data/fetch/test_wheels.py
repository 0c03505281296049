"""The `pypi` source against a package index on loopback, through the real pip."""

import hashlib
import os
import socket
import zipfile
from pathlib import Path

import pytest

from base.errors import MetrolineError, NetworkError
from base.files import read_json
from data.fetch.sources import PypiSource, fetch
from tests.data.fetch.web_site import Fault, Site


def make_wheel(folder: Path, extra: dict[str, str] | None = None) -> bytes:
    path = folder / "talks-1.2-py3-none-any.whl"
    files = {
        "talks/data/1.txt": "one",
        "talks/data/2.txt": "two",
        "talks/__init__.py": "raise SystemExit('was run')",
        "talks-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: talks\nVersion: 1.2\nRequires-Dist: nowhere\n",
        "talks-1.2.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "talks-1.2.dist-info/RECORD": "",
        **(extra or {}),
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return path.read_bytes()


@pytest.fixture
def index(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A package index with `talks` 1.2 alone; pip is cut off from any other."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.address}/simple/")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    monkeypatch.setenv("PIP_RETRIES", "0")
    put(site, make_wheel(tmp_path))
    return site


def put(site: Site, wheel: bytes) -> None:
    site.files["/simple/talks/"] = b'<a href="/files/talks-1.2-py3-none-any.whl">talks-1.2-py3-none-any.whl</a>'
    site.files["/files/talks-1.2-py3-none-any.whl"] = wheel


def source(wheel: bytes, **changes: str) -> PypiSource:
    values = {"package": "talks==1.2", "sha256": hashlib.sha256(wheel).hexdigest(), "members": "talks/data/*.txt"}
    return PypiSource(kind="pypi", **(values | changes))


def test_takes_the_members_and_nothing_else(index, tmp_path):
    fetch(source(index.files["/files/talks-1.2-py3-none-any.whl"]), tmp_path / "raw", name="demo")
    assert read_json(tmp_path / "raw/source.json") == {
        "kind": "pypi",
        "address": "talks==1.2",
        "files": {
            name: {"bytes": 3, "sha256": hashlib.sha256(text).hexdigest()}
            for name, text in (("1.txt", b"one"), ("2.txt", b"two"))
        },
    }
    assert sorted(path.name for path in (tmp_path / "raw").rglob("*")) == ["1.txt", "2.txt", "files", "source.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"package": "talks==9.9"}, r"demo: no wheel of talks==9\.9 for this Python \(the index has 1\.2\)"),
        ({"package": "walks==1.2"}, r"demo: the package index has no walks==1\.2 \(check source\.package"),
        ({"sha256": "0" * 64}, r"demo: talks-1\.2-py3-none-any\.whl has SHA-256 .*, the recipe pins 0000"),
        ({"members": "*.csv"}, r"demo: no file in talks-1\.2-py3-none-any\.whl matches '\*\.csv'"),
    ],
)
def test_bad_pins(index, tmp_path, changes, message):
    with pytest.raises(MetrolineError, match=message):
        fetch(source(index.files["/files/talks-1.2-py3-none-any.whl"], **changes), tmp_path / "raw", name="demo")
    assert not (tmp_path / "raw").exists()


def test_wheel_with_paths_outside(index, tmp_path):
    wheel = make_wheel(tmp_path, {"../../outside.txt": "x"})
    put(index, wheel)
    with pytest.raises(MetrolineError, match=r"holds '\.\./\.\./outside\.txt', a path outside of it"):
        fetch(source(wheel), tmp_path / "raw", name="demo")
    assert not list(tmp_path.rglob("outside.txt"))


def test_no_network(index, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple/")
    with pytest.raises(
        NetworkError, match=r"demo: cannot reach the package index for talks==1\.2: .*check the network"
    ):
        fetch(source(b""), tmp_path / "raw", name="demo")
    assert not (tmp_path / "raw").exists()


def test_index_that_breaks(index, tmp_path):
    index.faults["/simple/talks/"] = [Fault(status=503)]
    with pytest.raises(NetworkError, match=r"demo: cannot reach .* talks==1\.2: .*503"):
        fetch(source(b""), tmp_path / "raw", name="demo")
    index.faults["/files/talks-1.2-py3-none-any.whl"] = [Fault(break_after=100)] * 9
    with pytest.raises(NetworkError, match=r"demo: cannot reach .* talks==1\.2: incomplete-download"):
        fetch(source(b""), tmp_path / "raw", name="demo")
    assert not (tmp_path / "raw").exists()


def test_python_without_pip(tmp_path, monkeypatch):
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    bare.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(bare))
    with pytest.raises(MetrolineError, match=r"demo: this Python has no pip \(.*-m ensurepip\)"):
        fetch(source(b""), tmp_path / "raw", name="demo")


def test_mirror_comes_before_the_index(index, tmp_path):
    folder = tmp_path / "mirror/some.host/packages/ab"
    folder.mkdir(parents=True)
    content = make_wheel(folder)
    index.files.clear()
    fetch(source(content), tmp_path / "raw", name="demo", mirror=tmp_path / "mirror")
    assert (tmp_path / "raw/files/2.txt").read_text() == "two"
    assert not index.requests


def test_mirror_with_another_version_leaves_it_to_the_index(index, tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/talks-1.20-py3-none-any.whl").write_bytes(b"another")
    fetch(source(make_wheel(tmp_path)), tmp_path / "raw", name="demo", mirror=tmp_path / "mirror")
    assert (tmp_path / "raw/files/1.txt").read_text() == "one"


def test_mirror_with_a_wrong_wheel_is_named(index, tmp_path):
    (tmp_path / "mirror").mkdir()
    wheel = tmp_path / "mirror/talks-1.2-py3-none-any.whl"
    wheel.write_bytes(b"damaged")
    with pytest.raises(MetrolineError, match=f"demo: {wheel} has SHA-256 .*the recipe pins"):
        fetch(source(make_wheel(tmp_path)), tmp_path / "raw", name="demo", mirror=tmp_path / "mirror")
    assert not (tmp_path / "raw").exists()
