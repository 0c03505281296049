"""Precision auto: measured once for a bundle and a processor, then known."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from base.errors import MetrolineError
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.forward import golden_check
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.preparation import Preparation
from serving.http.settings import Settings
from serving.runtime import forward_model, precision
from serving.runtime.precision import settle, settle_forward, speed
from tests.serving import forward_bundles, tiny_bundle
from tests.serving.engines.decode import exported_bundle


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    exported_bundle.build(folder, "llama")
    return folder


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions that are measured from now on."""
    measured: list[str] = []

    def count(bundle: DecoderBundle, threads: int, native: bool) -> float:
        measured.append(bundle.precision)
        return speed(bundle, threads, native)

    monkeypatch.setattr(precision, "speed", count)
    return measured


def test_auto_is_measured_once(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured, environment = counted(monkeypatch), {"BENTOML_HOME": str(tmp_path)}
    bundle = DecoderBundle.load(exported, "auto")
    chosen = settle(bundle, 1, environment=environment)
    assert chosen.precision in ("int8", "int4")
    assert chosen.graph.is_file()
    assert measured == ["int8", "int4"]
    assert settle(bundle, 1, environment=environment) == chosen
    assert len(measured) == 2
    settle(bundle, 2, environment=environment)  # other threads may like another graph
    settle(bundle, 1, native=False, environment=environment)  # so may ONNX Runtime's own operators
    settle(replace(bundle, version="0" * 12), 1, environment=environment)
    assert len(measured) == 8


def test_the_fastest_is_taken(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, fastest in enumerate(("int8", "int4")):
        monkeypatch.setattr(precision, "speed", lambda bundle, *_, wanted=fastest: bundle.precision == wanted)
        environment = {"BENTOML_HOME": str(tmp_path / str(number))}
        assert settle(DecoderBundle.load(exported, "auto"), 1, environment=environment).precision == fastest


@pytest.mark.parametrize("content", ["no JSON", "[1]", '{"x": 1}'])
def test_a_damaged_note_is_written_again(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    note = tmp_path / "metroline/.precision.json"
    note.parent.mkdir()
    note.write_text(content)
    measured, environment = counted(monkeypatch), {"BENTOML_HOME": str(tmp_path)}
    for _ in range(2):
        settle(DecoderBundle.load(exported, "auto"), 1, environment=environment)
    assert len(measured) == 2


def test_what_is_asked_for_is_what_answers(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = counted(monkeypatch)
    for name in ("fp32", "int8", "int4"):
        assert settle(DecoderBundle.load(exported, name), 1).precision == name
    only = replace(DecoderBundle.load(exported, "auto"), files=frozenset({"model.onnx"}))
    assert settle(only, 1).precision == "fp32"
    assert settle(replace(only, files=frozenset({"model.onnx", "model.int8.onnx"})), 1).precision == "int8"
    assert measured == []
    with pytest.raises(MetrolineError, match=r"unknown precision 'int3' \(auto, fp32, int8 or int4\)"):
        DecoderBundle.load(exported, "int3")


@pytest.fixture(params=["fp32", "int8"])
def one_call(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A bundle of a model of one call, one of whose two graphs is far slower; and the name of the other."""
    folder, slow = forward_bundles.table(tmp_path / "bundle"), tmp_path / "slow.onnx"
    forward_bundles.table_graph(slow, "label", 3, delay=4)
    quick = str(request.param)
    shutil.copyfile(folder / "model.onnx" if quick == "int8" else slow, folder / "model.int8.onnx")
    if quick == "int8":
        shutil.copyfile(slow, folder / "model.onnx")
    serving = json.loads((folder / "serving.json").read_text()) | {"precision": "auto"}
    (folder / "serving.json").write_text(json.dumps(serving))
    tiny_bundle.write_manifest(folder, "flower", {"engine": "forward"})
    return folder, quick


def test_the_faster_graph_of_one_call_is_taken_and_known(
    one_call: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, quick = one_call
    bundle, environment = ForwardBundle.load(folder), {"BENTOML_HOME": str(tmp_path)}
    items = [ready for _, ready in golden_check.prepared(bundle, Preparation(bundle))]
    assert settle_forward(bundle, 1, items, environment).precision == quick
    monkeypatch.setattr(precision, "forward_speed", lambda *_: pytest.fail("measured again"))
    assert settle_forward(bundle, 1, items, environment).precision == quick
    only = replace(bundle, files=bundle.files - {"model.int8.onnx"})
    assert settle_forward(only, 1, items, environment).precision == "fp32"
    assert settle_forward(replace(bundle, precision="int8"), 1, items, environment).precision == "int8"


def test_a_model_of_one_call_is_loaded_with_it(
    one_call: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, quick = one_call
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    monkeypatch.setattr(golden_check, "check", lambda *_: None)  # the slow graph answers otherwise
    assert forward_model.load(ForwardBundle.load(folder), Settings()).describe()["precision"] == quick
