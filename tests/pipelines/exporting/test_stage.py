"""Stage export: a whole bundle, or none; every wrong form is caught here."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from base import manifest
from base.errors import MetrolineError
from base.files import atomic_folder, read_json, sha256
from base.progress import Progress
from models.decoder.cached import CachedDecoder
from models.decoder.huggingface import load
from pipelines.evaluation import evaluate
from pipelines.exporting import decode as forms
from pipelines.exporting import parity, pt2, runners, torchscript
from pipelines.exporting.decode import check
from pipelines.exporting.onnx import fp32 as onnx_fp32
from pipelines.exporting.quantize import int8 as onnx_int8
from pipelines.exporting.quantize import quality
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe.export_section import DecodeExport
from pipelines.tasks.language_modelling.held_out import HeldOut
from tests.pipelines import small_line

torch.set_num_threads(1)

FORMS = {onnx_fp32: "model.onnx", pt2: "model.pt2", torchscript: "model.ts"}


@pytest.fixture
def ready(exported: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A line ready to be exported; the slow exporters copy what they wrote before (the test of them is `exported`)."""
    paths = small_line.copy(exported, tmp_path / "line")
    shutil.rmtree(paths.bundle)
    for module, name in FORMS.items():
        source = exported.bundle / name
        monkeypatch.setattr(module, "export", lambda model, path, source=source: shutil.copyfile(source, path))
    return paths


def perturb(path: Path, amount: float) -> None:
    """Change one number of the largest matrix of an ONNX file."""
    proto = onnx.load(path)
    weights = [weight for weight in proto.graph.initializer if weight.data_type == onnx.TensorProto.FLOAT]
    largest = max(weights, key=lambda weight: np.prod(weight.dims))
    array = numpy_helper.to_array(largest).copy()
    array[tuple(size // 2 for size in array.shape)] += amount
    largest.CopyFrom(numpy_helper.from_array(array, largest.name))
    onnx.save(proto, path)


def after(module: object, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    """Let `change` damage what an exporter has written."""
    original = module.export  # type: ignore[attr-defined] # a module with an `export`

    def run(source: object, path: Path, *rest: object) -> None:
        original(source, path, *rest)
        change(path)

    monkeypatch.setattr(module, "export", run)


def test_the_bundle_is_whole(exported: Paths) -> None:
    names = {path.name for path in exported.bundle.iterdir()}
    assert names == {
        "model.onnx", "model.int8.onnx", "model.ts", "model.pt2", "model.safetensors", "config.json", "tokenizer.json",
        "tokenizer_config.json", "generation_config.json", "parity.json", "metrics.json", "groups.png", "README.md",
        "serving.json", "signature.json", "reference.json", "manifest.json",
    }  # fmt: skip
    found = manifest.verify(exported.bundle)
    assert set(found["files"]) == names - {"manifest.json"}
    assert found["model"] == {
        "layers": 2, "kv_heads": 2, "head_dim": 16, "vocab_size": 320, "context": small_line.CONTEXT, "eos": 0,
        "cache": "kv",
    }  # fmt: skip
    assert found["recipe"]["name"] == found["name"] == "mini"
    assert found["metrics"] == read_json(exported.metrics)
    assert read_json(exported.bundle / "serving.json") == {
        "name": "mini", "context": small_line.CONTEXT, "max_tokens": 256, "precision": "int8", "eos": 0,
        "clean": {"unicode": "NFC", "newlines": True},
    }  # fmt: skip
    assert not list(exported.artifacts.glob(".bundle*"))


def test_parity_is_written_for_every_form(exported: Paths) -> None:
    found = read_json(exported.bundle / "parity.json")
    assert set(found) == {"onnx", "int8", "pt2", "torchscript"}
    for form in ("onnx", "pt2", "torchscript"):
        assert found[form]["max_abs"] < 1e-4
        assert {(case["batch"], case["ragged"]) for case in found[form]["cases"]} >= {(1, False), (3, False), (3, True)}
    int8 = found["int8"]
    assert int8["loss_delta"] == pytest.approx(int8["loss"] / int8["loss_fp32"] - 1)
    assert abs(int8["loss_delta"]) < 0.01
    assert 1e-4 < int8["max_abs"] < 1.0  # it is quantized, and right
    assert 256 <= int8["tokens"] <= 600
    metrics = read_json(exported.metrics)
    assert int8["loss_fp32"] == pytest.approx(metrics["test"]["loss"], rel=0.2)


def test_the_bundle_is_a_hugging_face_folder_of_the_checkpoint(exported: Paths) -> None:
    ours, theirs = load(exported.checkpoint).state_dict(), load(exported.bundle).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_graph_has_the_interface_that_serving_is_written_against(exported: Paths) -> None:
    for name in ("model.onnx", "model.int8.onnx"):
        session = onnxruntime.InferenceSession(str(exported.bundle / name), providers=["CPUExecutionProvider"])
        inputs = {part.name: (part.type, part.shape) for part in session.get_inputs()}
        assert inputs["input_ids"] == ("tensor(int64)", ["batch", "sequence"])
        assert inputs["seqlens_k"] == ("tensor(int32)", ["batch"])
        assert inputs["total_sequence_length"] == ("tensor(int32)", [])
        past = ("tensor(int8)", "capacity") if "int8" in name else ("tensor(float)", "past")
        assert inputs["past_key_values.1.value"] == (past[0], ["batch", 2, past[1], 16])
        outputs = {part.name: part.shape for part in session.get_outputs()}
        assert list(outputs) == ["logits", *(f"present.{i}.{part}" for i in (0, 1) for part in ("key", "value"))]
        assert inputs["logits_at"] == ("tensor(int64)", ["rows"])
        assert outputs["logits"] == ["rows", 320]
    kinds = [node.op_type for node in onnx.load(exported.bundle / "model.onnx").graph.node]
    assert kinds.count("GroupQueryAttention") == 2
    assert kinds.count("SkipSimplifiedLayerNormalization") == 3
    assert "Transpose" not in kinds
    kinds = [node.op_type for node in onnx.load(exported.bundle / "model.int8.onnx").graph.node]
    assert kinds.count("PackedMatMul") == 13  # of 15: gate and up are one
    assert "MatMul" not in kinds
    assert kinds.count("CachedAttention") == 2


def test_bytes_say_nothing_about_where_and_when_they_were_made(exported: Paths) -> None:
    here = str(Path(__file__).resolve().parents[3]).encode()
    for path in exported.bundle.iterdir():
        data = path.read_bytes()
        assert here not in data, path.name
        assert str(exported.root).encode() not in data, path.name


def test_equal_bytes_when_exported_again(exported: Paths, tmp_path: Path) -> None:
    model = CachedDecoder(load(exported.checkpoint))
    for module in (onnx_fp32, pt2):
        module.export(model, tmp_path / FORMS[module])
        assert sha256(tmp_path / FORMS[module]) == sha256(exported.bundle / FORMS[module])
    files = {"onnx": tmp_path / "model.onnx", "int8": tmp_path / "model.int8.onnx"}
    forms.quantize(model, files, DecodeExport(), HeldOut(exported.prepared), Progress("export", None))
    assert sha256(tmp_path / "model.int8.onnx") == sha256(exported.bundle / "model.int8.onnx")


def test_parity_is_measured_the_same_again(ready: Paths, exported: Paths) -> None:
    export(small_line.recipe(), ready)
    for name in ("parity.json", "README.md", "manifest.json"):
        assert (ready.bundle / name).read_bytes() == (exported.bundle / name).read_bytes()


def test_a_gpt2_like_model_exports_too(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    shape = {"positions": "learned", "norm": "layernorm", "activation": "gelu", "bias": True, "kv_heads": 4}
    small_line.checkpoint(paths, steps=0, **{**shape, "qk_norm": False, "tied": False})
    model = CachedDecoder(load(paths.checkpoint))
    onnx_fp32.export(model, tmp_path / "model.onnx")
    found = parity.compare(runners.open_runner("onnx", tmp_path / "model.onnx", model), model.model, (1, 2), (1, 9))
    assert found["max_abs"] < 1e-4
    files = {form: tmp_path / f"{form}.onnx" for form in ("int8", "int4")}
    forms.quantize(
        model,
        {"onnx": tmp_path / "model.onnx", **files},
        DecodeExport(),
        HeldOut(paths.prepared),
        Progress("export", None),
    )
    kinds = [node.op_type for node in onnx.load(files["int8"]).graph.node]
    assert kinds.count("QuantizeRows") == 2 * 4 + 1  # nothing has a fixed size here
    assert "QuantizeLinear" not in kinds
    products = [node for node in onnx.load(files["int4"]).graph.node if node.op_type == "PackedMatMulNBits"]
    bits = [part.i for node in products for part in node.attribute if part.name == "bits"]
    assert bits.count(8) == 2 * 3 < len(bits) == 2 * 6 + 1  # query, key and value


def test_export_without_validation_text_says_so(ready: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "calibration", lambda *_: iter(()))
    with pytest.raises(MetrolineError, match="no text to calibrate"):
        export(small_line.recipe(), ready)
    assert not ready.bundle.exists()


def test_a_changed_weight_fails_and_leaves_no_bundle(
    ready: Paths, exported: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported.bundle, ready.bundle)  # of an older checkpoint, say
    after(onnx_fp32, monkeypatch, lambda path: perturb(path, 1.0))  # of one token's embedding
    with pytest.raises(MetrolineError, match=r"onnx does not compute what the checkpoint computes: a logit is off by"):
        export(small_line.recipe(), ready)
    assert not ready.bundle.exists()
    assert not list(ready.artifacts.glob(".bundle*"))


def test_a_graph_of_another_model_fails(ready: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(path: Path) -> None:
        proto = onnx.load(path)
        for part in proto.graph.input:
            if part.name == "seqlens_k":
                part.name = "lengths"
        for node in proto.graph.node:
            node.input[:] = ["lengths" if name == "seqlens_k" else name for name in node.input]
        onnx.save(proto, path)

    after(onnx_fp32, monkeypatch, rename)
    with pytest.raises(MetrolineError, match=r"model\.onnx has other inputs than serving gives: lengths is"):
        export(small_line.recipe(), ready)


def test_dimensions_that_are_not_dynamic_fail(ready: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def fix(path: Path) -> None:
        proto = onnx.load(path)
        dimension = proto.graph.input[0].type.tensor_type.shape.dim[1]
        dimension.Clear()
        dimension.dim_value = 5
        onnx.save(proto, path)

    after(onnx_fp32, monkeypatch, fix)
    with pytest.raises(MetrolineError, match=r"input_ids is \('tensor\(int64\)', \['batch', 5\]\)"):
        export(small_line.recipe(), ready)


@pytest.mark.parametrize(
    ("module", "name"),
    [(onnx_fp32, "model.onnx"), (onnx_int8, "model.int8.onnx"), (pt2, "model.pt2"), (torchscript, "model.ts")],
)
@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_file_that_is_missing_or_cut_off_fails(
    ready: Paths, monkeypatch: pytest.MonkeyPatch, module: object, name: str, damage: str
) -> None:
    def change(path: Path) -> None:
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    after(module, monkeypatch, change)
    if module is onnx_fp32:  # what is quantized from it would fail first
        monkeypatch.setattr(forms, "quantize", lambda *rest: None)
    with pytest.raises(MetrolineError, match=rf"{name} (is missing|does not load)"):
        export(small_line.recipe(), ready)
    assert not ready.bundle.exists()


def test_an_int8_form_that_loses_too_much_fails() -> None:
    found = {"max_abs": 0.1, "loss_delta": 0.05, "cases": []}
    with pytest.raises(
        MetrolineError, match=r"int8 raises the loss by 5\.00 %, more than export\.int8_tolerance \(2 %\)"
    ):
        check("int8", found, DecodeExport())
    check("int8", found, DecodeExport(int8_tolerance=0.06))
    for delta in (float("nan"), float("inf")):
        with pytest.raises(MetrolineError, match="int8 raises the loss"):
            check("int8", {**found, "loss_delta": delta}, DecodeExport())
    with pytest.raises(MetrolineError, match="not finite"):
        check("int8", {**found, "loss_delta": 0.0, "max_abs": float("inf")}, DecodeExport())


def test_other_forms_can_be_left_out(ready: Paths) -> None:
    export(small_line.recipe(export={"torchscript": False, "pt2": False, "lengths": (1, 4), "int8_tokens": 256}), ready)
    assert not (ready.bundle / "model.ts").exists()
    assert not (ready.bundle / "model.pt2").exists()
    assert set(read_json(ready.bundle / "parity.json")) == {"onnx", "int8"}
    assert "model.ts" not in (ready.bundle / "README.md").read_text()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "training.json"])
def test_a_checkpoint_with_a_missing_file(evaluated: Paths, tmp_path: Path, name: str) -> None:
    paths = small_line.copy(evaluated, tmp_path / "line")
    (paths.checkpoint / name).unlink()
    with pytest.raises(MetrolineError, match=rf"{name} is missing \(metroline run mini\)"):
        export(small_line.recipe(), paths)


def test_nothing_is_exported_before_it_is_evaluated(trained: Paths) -> None:
    with pytest.raises(MetrolineError, match=r"metrics\.json is missing"):
        export(small_line.recipe(), trained)


def test_metrics_of_another_checkpoint(evaluated: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(evaluated, tmp_path / "line")
    small_line.checkpoint(paths, steps=1)
    with pytest.raises(MetrolineError, match=r"is of another checkpoint .*\(metroline stage evaluate mini\)"):
        export(small_line.recipe(), paths)


def test_the_card_says_what_was_measured(exported: Paths) -> None:
    card = (exported.bundle / "README.md").read_text(encoding="utf-8")
    metrics = read_json(exported.metrics)
    assert card.startswith("---\nlicense: other\nlicense_name: made up for tests\n")
    assert f"| this model | {metrics['test']['bits_per_byte']:.4g} |" in card
    assert f"| `xz -9e` | {metrics['baselines']['xz_bits_per_byte']:.4g} |" in card
    for part in (
        "## Data",
        "## Model and training",
        "## How good it is",
        "## Exported forms",
        "## Samples",
        "## Limits",
    ):
        assert part in card
    assert "![Test loss per group of documents](groups.png)" in card
    assert "curves.png" not in card  # there is none here
    assert "It is weakest on decade" in card
    data_hash = read_json(exported.prepared / "index.json")["data_hash"]
    assert data_hash in card
    assert json.loads((exported.bundle / "manifest.json").read_text())["data_hash"] == data_hash


def test_settings_are_checked() -> None:
    for bad in ({"lengths": ()}, {"tolerance": 0}, {"int4": "int8"}, {"onnx": True}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            DecodeExport.model_validate(bad)


def test_a_shape_that_cannot_be_exported(evaluated: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(evaluated, tmp_path / "line")
    small_line.checkpoint(paths, steps=0, width=48)
    evaluate(small_line.recipe(), paths)
    with pytest.raises(MetrolineError, match=r"export: ONNX Runtime.s attention needs a head_dim .* of 16"):
        export(small_line.recipe(), paths)


@pytest.mark.parametrize("module", [onnx_fp32, pt2, torchscript], ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_full_disk_is_one_line_and_leaves_no_bundle(exported, tmp_path, full_disk, module):
    model = CachedDecoder(load(exported.checkpoint).eval())
    bundle = tmp_path / "bundle"
    with full_disk(2_000), pytest.raises(MetrolineError) as caught, atomic_folder(bundle) as folder:
        module.export(model, folder / "model.bin")
    assert str(caught.value).startswith(f"cannot write {bundle}")
    assert str(caught.value).endswith("File too large (make room and run the same command again)")
    assert list(tmp_path.iterdir()) == []
