"""manifest.json: any change of a bundle's files is refused and named."""

import os
from pathlib import Path

import pytest

from base import manifest
from base.errors import MetrolineError
from base.files import read_json, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of three small files."""
    made = tmp_path / "bundle"
    made.mkdir()
    for name in ("model.onnx", "serving.json", "README.md"):
        (made / name).write_text(f"contents of {name}")
    manifest.write(made, {"name": "mini", "metrics": {"test": {"loss": 1.0}}})
    return made


def test_what_is_written_verifies(folder: Path) -> None:
    found = manifest.verify(folder)
    assert found["name"] == "mini"
    assert set(found["files"]) == {"model.onnx", "serving.json", "README.md"}
    assert found["version"] == "e11bc5662b7a"  # as in releases that are out


def test_the_version_is_of_the_files_alone(folder: Path) -> None:
    version = manifest.verify(folder)["version"]
    assert manifest.write(folder, {"name": "other", "git_commit": "abc"})["version"] == version
    (folder / "README.md").write_text("new")
    assert manifest.write(folder, {"name": "mini"})["version"] != version


def test_files_in_folders_are_hashed_too(folder: Path) -> None:
    (folder / "golden").mkdir()
    (folder / "golden/0-0.png").write_bytes(b"png")
    version = manifest.write(folder, {})["version"]
    assert manifest.verify(folder)["version"] == version
    assert "golden/0-0.png" in manifest.verify(folder)["files"]
    (folder / "golden/0-0.png").write_bytes(b"gnp")
    with pytest.raises(MetrolineError, match=r"golden/0-0\.png is not the file that was exported"):
        manifest.verify(folder)


@pytest.mark.parametrize("name", ["model.onnx", "serving.json", "README.md"])
def test_one_flipped_byte_is_refused_and_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(MetrolineError, match=rf"{name} is not the file that was exported"):
        manifest.verify(folder)


def test_a_sealed_bundle_is_hashed_again_only_when_a_file_was_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = manifest.verify(folder)["files"]
    sealed = {manifest.seal(folder, names)}
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "sha256", lambda _: pytest.fail("hashed again"))
        assert manifest.verify(folder, sealed)["name"] == "mini"
    path, stat = folder / "model.onnx", (folder / "model.onnx").stat()
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # whoever changed it hides that
    with pytest.raises(MetrolineError, match=r"model\.onnx is not the file that was exported"):
        manifest.verify(folder, sealed)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(MetrolineError, match=r"model\.onnx is missing"):
        manifest.verify(folder)


def test_a_file_that_was_taken_off_the_list(folder: Path) -> None:
    values = read_json(folder / "manifest.json")
    del values["files"]["model.onnx"]
    write_json(folder / "manifest.json", values)
    with pytest.raises(MetrolineError, match="list of files is not the one that was exported"):
        manifest.verify(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("{", r"manifest\.json is not valid JSON"),
        ("[]", r"manifest\.json is not a JSON object"),
        ('{"format": 1, "version": "x"}', "lists no files"),
        ('{"format": 1, "version": "x", "files": {}}', "lists no files"),
        ('{"format": 1, "version": "x", "files": ["README.md"]}', "lists no files"),
        ('{"format": 1, "version": "x", "files": {"README.md": 7}}', r"README\.md is not the file that was exported"),
        ('{"format": 1, "version": "x", "files": {"..": "0"}}', "outside the bundle"),
        ('{"format": 2, "version": "x", "files": {}}', "bundle format 2, but this code knows 1"),
        ('{"format": 1, "version": "x", "files": {"../secret": "0"}}', "outside the bundle"),
        (None, r"manifest\.json is missing"),
    ],
)
def test_damaged_manifests(folder: Path, damage: str | None, message: str) -> None:
    (folder / "manifest.json").unlink()
    if damage is not None:
        (folder / "manifest.json").write_text(damage)
    with pytest.raises(MetrolineError, match=message):
        manifest.verify(folder)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(MetrolineError, match="no bundle at"):
        manifest.verify(tmp_path / "nothing")
