"""A bundle that does not answer its golden items as the trained model did is refused, whatever its manifest says."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from base.errors import MetrolineError
from serving.engines.forward.preparation import Preparation
from serving.http.settings import Settings
from serving.runtime import forward_model
from serving.runtime.bundles import load
from tests.serving import forward_bundles
from tests.serving.engines.forward.test_row_invariance import quantized


def start(folder):
    return forward_model.load(load(folder), Settings())


def constant(folder, name, array):
    """Replace a constant of the model's graph."""
    model = onnx.load(folder / "model.onnx")
    (found,) = [each for each in model.graph.initializer if each.name == name]
    found.CopyFrom(numpy_helper.from_array(np.asarray(array, np.float32).reshape(tuple(found.dims)), name))
    onnx.save(model, folder / "model.onnx")


def labels(folder, names):
    path = folder / "signature.json"
    signature = json.loads(path.read_text())
    signature["outputs"][0]["labels"] = names
    path.write_text(json.dumps(signature))


TAMPERED = {
    "a mean": (forward_bundles.image, lambda f: constant(f, "mean", [121, 110, 100]),
               r"golden item 0: label: \w+: 0\."),
    "a deviation": (forward_bundles.table, lambda f: constant(f, "std", [11, 300, 1]), r"golden item \d: label: "),
    "a label's name": (forward_bundles.image, lambda f: labels(f, ["round", "square", "flat", "thick"]),
                       "label: the answer has flat, round, square, thin, not flat, round, square, thick"),
    "the order of labels": (forward_bundles.image, lambda f: labels(f, ["square", "round", "flat", "thin"]),
                            "golden item 0: label: "),
    "the filter of the resize": (forward_bundles.image, lambda f: forward_bundles.image_graphs(f, "nearest"),
                                 "golden item 0: label: "),
    "a damaged image": (forward_bundles.image, lambda f: (f / "golden/1-0.jpg").write_bytes(b"\xff\xd8\xffno"),
                        "golden item 1: "),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
def test_what_only_golden_items_can_tell(tmp_path, case):
    build, tamper, problem = TAMPERED[case]
    folder = build(tmp_path / "bundle")
    tamper(folder)
    forward_bundles.reseal(folder)
    with pytest.raises(MetrolineError, match=problem) as caught:
        start(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("build", [forward_bundles.table, forward_bundles.image, forward_bundles.texts])
def test_an_honest_bundle_starts(tmp_path, build):
    model = start(build(tmp_path / "bundle"))
    assert model.engine.ready
    assert model.describe()["engine"] == "forward"


def test_a_graph_of_other_inputs(tmp_path):
    folder = forward_bundles.table(tmp_path / "bundle")
    path = folder / "signature.json"
    signature = json.loads(path.read_text())
    signature["outputs"].append(signature["outputs"][0] | {"name": "other"})
    path.write_text(json.dumps(signature))
    golden = json.loads((folder / "golden/golden.json").read_text())
    for item in golden:
        item["outputs"]["other"] = item["outputs"]["label"]
    (folder / "golden/golden.json").write_text(json.dumps(golden))
    forward_bundles.reseal(folder)
    with pytest.raises(MetrolineError, match="1 inputs and 1 outputs, but the signature has 1 and 2"):
        start(folder)


@pytest.mark.parametrize("name", ["golden/golden.json", "pre.onnx", "model.onnx"])
def test_a_file_that_is_missing(tmp_path, name):
    folder = forward_bundles.image(tmp_path / "bundle")
    (folder / name).unlink()
    forward_bundles.reseal(folder)
    with pytest.raises(MetrolineError, match=f"does not list {name}"):
        load(folder)


def test_int8_is_held_to_a_looser_bound(tmp_path):
    folder = forward_bundles.table(tmp_path / "bundle")
    items = [Preparation(load(folder))((forward_bundles.row(seed),)) for seed in range(50)]
    quantized(folder, folder / "model.int8.onnx", items, "static")
    forward_bundles.reseal(folder)
    model = forward_model.load(load(folder, "int8"), Settings())
    assert model.describe()["precision"] == "int8"
    (folder / "model.int8.onnx").rename(folder / "model.onnx")
    forward_bundles.reseal(folder)
    with pytest.raises(MetrolineError, match="golden item"):  # what passes for fp32 has to be closer
        start(folder)


def test_the_manifest_must_list_the_signature(tmp_path):
    folder = forward_bundles.table(tmp_path / "bundle")
    files = json.loads((folder / "manifest.json").read_text())
    signature = (folder / "signature.json").read_bytes()
    (folder / "signature.json").unlink()
    forward_bundles.reseal(folder)
    (folder / "signature.json").write_bytes(signature)
    assert "signature.json" in files["files"]
    with pytest.raises(MetrolineError, match=r"does not list signature\.json"):
        load(folder)
