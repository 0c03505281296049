"""Bundles: a good one loads, every kind of damage is refused with one line that says what is wrong."""

import json
import os
import shutil
from pathlib import Path

import pytest

from base import manifest
from base.errors import MetrolineError
from data.text.text_form import TextForm
from serving.bundle import SEALS, locate, seals
from serving.engines.decode.bundle import DecoderBundle
from serving.runtime.bundles import load_all
from tests.serving import tiny_bundle


@pytest.fixture
def copy(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def change(path: Path, **values) -> None:
    """Set (or with None remove) keys of a JSON file."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def relist(folder: Path) -> None:
    """Make the manifest true again."""
    from tests.serving.tiny_bundle import write_manifest

    write_manifest(folder, "tiny", json.loads((folder / "manifest.json").read_text())["model"])


def forget_a_file(folder: Path) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    del files["curves.png"]
    change(folder / "manifest.json", files=files)


def without(folder: Path, name: str) -> None:
    (folder / name).unlink()
    relist(folder)


def test_a_good_bundle(bundle):
    loaded = DecoderBundle.load(bundle)
    assert (loaded.name, loaded.precision, loaded.context, loaded.eos) == ("tiny", "int8", 64, (0,))
    assert loaded.graph.name == "model.int8.onnx"
    assert loaded.reference == {"loss_mean": 5.5, "loss_std": 0.5, "tokens": 64}
    assert DecoderBundle.load(bundle, "fp32").graph.name == "model.onnx"


BAD = {
    "no folder": (lambda b: shutil.rmtree(b), "no bundle at"),
    "no manifest": (lambda b: (b / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest cut off": (lambda b: (b / "manifest.json").write_text('{"format": 1, '), "is not valid JSON"),
    "manifest not UTF-8": (lambda b: (b / "manifest.json").write_bytes(b'{"\xff"}'), "is not valid JSON"),
    "manifest a list": (lambda b: (b / "manifest.json").write_text("[]"), "not a JSON object"),
    "another format": (lambda b: change(b / "manifest.json", format=2), "bundle format 2"),
    "no files listed": (lambda b: change(b / "manifest.json", files={}), "lists no files"),
    "file missing": (lambda b: (b / "model.onnx").unlink(), "model.onnx is missing"),
    "one bit changed": (
        lambda b: (b / "model.onnx").write_bytes((b / "model.onnx").read_bytes()[:-1] + b"?"),
        "model.onnx is not the file that was exported",
    ),
    "file cut off": (lambda b: (b / "tokenizer.json").write_text("{"), "tokenizer.json is not the file"),
    "outside": (lambda b: change(b / "manifest.json", files={"../secret": "0" * 64}), "outside the bundle"),
    "absolute": (lambda b: change(b / "manifest.json", files={"/etc/passwd": "0" * 64}), "outside the bundle"),
    "file left out of the list": (forget_a_file, "list of files is not the one that was exported"),
    "no int8 graph": (lambda b: without(b, "model.int8.onnx"), "does not list model.int8.onnx"),
    "no tokenizer": (lambda b: without(b, "tokenizer.json"), "does not list tokenizer.json"),
    "no serving.json": (lambda b: without(b, "serving.json"), "does not list serving.json"),
    "unknown precision": (
        lambda b: (change(b / "serving.json", precision="int3"), relist(b)),
        "unknown precision 'int3'",
    ),
    "no limit": (lambda b: (change(b / "serving.json", max_tokens=None), relist(b)), "lacks 'max_tokens'"),
    "no model": (lambda b: change(b / "manifest.json", model=None), "lacks 'model'"),
    "no form of text": (
        lambda b: (change(b / "serving.json", clean={"unicode": "NFX"}), relist(b)),
        "lacks clean: unicode: Input should be 'NFC' or 'none'",
    ),
    "nonsense": (lambda b: (change(b / "serving.json", eos="end"), relist(b)), "lacks eos: a token id"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_bundle_is_refused(copy, case):
    damage, message = BAD[case]
    damage(copy)
    with pytest.raises(MetrolineError) as caught:
        DecoderBundle.load(copy)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_form_of_text(copy):
    assert DecoderBundle.load(copy).form == TextForm()  # an older bundle says nothing
    change(copy / "serving.json", clean={"unicode": "none", "newlines": False})
    relist(copy)
    assert DecoderBundle.load(copy).form == TextForm(unicode="none", newlines=False)


def test_several_ends(copy):
    change(copy / "serving.json", eos=[0, 5])
    tiny_bundle.write_manifest(copy, "tiny", json.loads((copy / "manifest.json").read_text())["model"])
    assert DecoderBundle.load(copy).eos == (0, 5)


def test_which_bundles(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    both = os.pathsep.join(map(str, folders))
    assert locate({"METROLINE_BUNDLES": both, "METROLINE_MODELS": "speeches"}) == folders
    for nothing in ({}, {"METROLINE_MODELS": " , "}, {"METROLINE_BUNDLES": ""}):
        with pytest.raises(MetrolineError, match="which model"):
            locate(nothing)


@pytest.mark.parametrize("name", ["a:b", "a b", "ü", "[x", "a\nb", "50%", "#1", "\udcff", '"'])
def test_folders_of_any_name(bundle, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(bundle, folder)
    (found,) = locate({"METROLINE_BUNDLES": json.dumps([str(folder)])})
    assert DecoderBundle.load(found).path == folder


@pytest.mark.parametrize("text", ["[", "[1]", "[[]]", "[null]"])
def test_a_list_that_is_none(text):
    with pytest.raises(MetrolineError, match="is no JSON list of folders"):
        locate({"METROLINE_BUNDLES": text})


def test_two_bundles_of_one_name(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    with pytest.raises(MetrolineError, match="copy: another bundle is named tiny too"):
        load_all([bundle, tmp_path / "copy"])


def test_processes_that_start_later_do_not_hash_again_what_has_not_changed(copy, monkeypatch):
    monkeypatch.setenv(SEALS, seals([DecoderBundle.load(copy)]))
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "sha256", lambda _: pytest.fail("hashed again"))
        DecoderBundle.load(copy)
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes()[:-1])
    with pytest.raises(MetrolineError, match=r"model\.onnx is not the file that was exported"):
        DecoderBundle.load(copy)
