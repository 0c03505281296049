"""Adapters that do not belong over a base are refused, each in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from base import manifest
from base.errors import MetrolineError
from base.files import read_json, write_json
from serving.http.settings import Settings
from serving.runtime import bundles, decoder_model
from serving.runtime.adapters import attach, divide
from serving.runtime.decoder_model import DecoderModel


@pytest.fixture(scope="module")
def base(adapted) -> DecoderModel:
    settings = Settings.from_environment({"METROLINE_THREADS": "1"})
    return decoder_model.load(bundles.load(adapted[0]), settings)


def changed(folder: Path, target: Path, name: str = "", **values) -> Path:
    """A copy of an adapter's bundle with other values in adapter.json."""
    shutil.copytree(folder, target)
    write_json(target / "adapter.json", read_json(target / "adapter.json") | values)
    kept = {key: value for key, value in read_json(target / "manifest.json").items() if key not in ("files", "version")}
    manifest.write(target, kept | ({"name": name} if name else {}))
    return target


def spoiled(folder: Path, target: Path, weights: np.ndarray) -> Path:
    """One whose numbers are these."""
    copied = changed(folder, target.with_name(f"{target.name}.first"))
    for path in copied.glob("adapter.*.npy"):
        np.save(path, weights)
    return changed(copied, target)


def nans(folder: Path) -> np.ndarray:
    weights = np.load(folder / "adapter.int8.npy")
    weights[5] = 0x7FC0
    return weights


BAD = {
    "another_base": ("which is not served", lambda folder, to: [changed(folder, to, base="another")]),
    "other_weights": ("of other weights", lambda folder, to: [changed(folder, to, base_sha256="0" * 64)]),
    "other_export": ("exported again since", lambda folder, to: [changed(folder, to, layout={
        "adapters.json": "0" * 64, "adapters.safetensors": "0" * 64})]),
    "too_many": ("one too many", lambda folder, to: [
        changed(folder, to.with_name(f"{to.name}{i}"), f"many{i}") for i in range(5)]),
    "nan": ("not finite", lambda folder, to: [spoiled(folder, to, nans(folder))]),
    "size": ("does not fit", lambda folder, to: [spoiled(folder, to, np.zeros(8, np.uint16))]),
    "type": ("are no weights", lambda folder, to: [spoiled(folder, to, np.zeros(8, np.float32))]),
    "pickle": ("allow_pickle", lambda folder, to: [spoiled(folder, to, np.array([{}], object))]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_belong_is_refused(case, base, adapted, tmp_path) -> None:
    said, make = BAD[case]
    plain, adapters = divide(bundles.load_all([adapted[0], *make(adapted[1], tmp_path / "bad")]))
    assert len(plain) == 1
    with pytest.raises(MetrolineError, match=said) as raised:
        attach([base], adapters)
    assert "\n" not in str(raised.value)


def test_files_that_are_not_as_exported_are_refused(adapted, tmp_path) -> None:
    damaged = shutil.copytree(adapted[1], tmp_path / "damaged")
    (damaged / "adapter.int8.npy").write_bytes(b"x")
    with pytest.raises(MetrolineError, match="not the file that was exported"):
        bundles.load(damaged)
    lost = changed(adapted[1], tmp_path / "lost")
    (lost / "adapter.json").write_text("{}")
    manifest.write(lost, {"name": "lost"})
    with pytest.raises(MetrolineError, match="lacks 'base'"):
        bundles.load(lost)


def test_a_base_without_room_takes_none(adapted, bundle) -> None:
    with pytest.raises(MetrolineError, match="served with its base"):
        bundles.load_all([adapted[1]])
    (adapter,) = divide(bundles.load_all(adapted[:2]))[1]
    (tiny,) = bundles.load_all([bundle])
    assert "not of tiny" in (adapter.problem(tiny) or "")
