"""Export of one-call graphs: what is written answers as the checkpoint does; what was tampered with is not written."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from base.errors import MetrolineError
from base.files import read_json
from base.progress import Progress
from data import golden
from data.codecs import decode
from data.signature import Signature
from pipelines.evaluation import evaluate
from pipelines.exporting import forward, graphs
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.schema import Recipe
from serving.bundle import Bundle
from tests.pipelines.tasks.supervised import small_images

Line = tuple[Recipe, Paths]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Trained, evaluated, exported."""
    recipe, paths = small_images.trained(tmp_path_factory.mktemp("bars"))
    evaluate(recipe, paths)
    export(recipe, paths)
    return recipe, paths


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_the_bundle_answers_raw_bytes_by_its_graphs_alone(line: Line) -> None:
    bundle = line[1].bundle
    signature = Signature.load(bundle / "signature.json")
    pre, model = session(bundle / "pre.onnx"), session(bundle / "model.onnx")
    items = golden.load(bundle, signature)
    sizes, ready = set(), []
    for item in items:
        image = decode(signature.inputs[0], item.inputs[0])
        sizes.add(image.shape)
        ready.append(pre.run(None, {"image": image[None]})[0])
        (alone,) = model.run(None, {"image": ready[-1]})
        assert golden.compare(signature, item, {"label": alone[0]}) is None
    assert len(sizes) > 1  # images of another size among them
    (together,) = model.run(None, {"image": np.concatenate(ready)})
    for item, scores in zip(items, together, strict=True):
        assert golden.compare(signature, item, {"label": scores}) is None


def test_labels_threshold_and_card(line: Line) -> None:
    _recipe, paths = line
    output = Signature.load(paths.bundle / "signature.json").outputs[0]
    assert output.labels == ("lying", "standing")  # type: ignore[union-attr]
    assert output.threshold == read_json(paths.checkpoint / "config.json")["threshold"]  # type: ignore[union-attr]
    card = (paths.bundle / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: image-classification" in card
    assert "`lying`, `standing`" in card
    assert read_json(paths.metrics)["test"]["accuracy"] > read_json(paths.metrics)["baselines"]["floor_accuracy"]


def test_batch_norm_is_folded(line: Line) -> None:
    kinds_there = {node.op_type for node in onnx.load(line[1].bundle / "model.onnx").graph.node}
    assert "Conv" in kinds_there
    assert "BatchNormalization" not in kinds_there


def test_buffers_of_training_are_in_the_checkpoint(line: Line) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(line[1].checkpoint / "model.safetensors")
    assert tensors["body.first.norm.num_batches_tracked"] > 0
    assert abs(tensors["body.first.norm.running_var"] - 1).max() > 0.01
    fitted = read_json(line[1].prepared / "index.json")["fitted"]
    np.testing.assert_allclose(tensors["entry.mean"].ravel(), fitted["mean"], rtol=1e-6)


def write(line: Line, folder: Path, **changes: Any) -> dict[str, Any]:
    """The exporter's part of stage export, into an empty folder; returns the contents of parity.json."""
    recipe, paths = line
    exportable = kinds.task("classification")(recipe).exportable(paths.checkpoint, paths.prepared)
    folder.mkdir()
    with Progress("export", 9, "steps") as progress:
        return forward.write(exportable, folder, recipe.export.model_copy(update={"int8": False, **changes}), progress)


def tampered(line: Line, graph: str, change: Any) -> Any:
    """In place of an exporter of graphs: the exported one, changed."""

    def copy(*arguments: Any) -> None:
        proto = onnx.load(line[1].bundle / graph)
        assert change(proto.graph)
        onnx.save(proto, arguments[-1])

    return copy


def scaled(size: int, factor: float) -> Any:
    """Multiply the first constants of this size."""

    def change(graph: onnx.GraphProto) -> bool:
        for weight in graph.initializer:
            array = numpy_helper.to_array(weight)
            if array.size == size and array.dtype == np.float32:
                weight.CopyFrom(numpy_helper.from_array(array * np.float32(factor), weight.name))
                return True
        return False

    return change


def keep(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "export", tampered(line, "model.onnx", lambda graph: True))
    monkeypatch.setattr(graphs, "export_pre", tampered(line, "pre.onnx", lambda graph: True))


def test_the_same_graphs_pass(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(line, monkeypatch)
    write(line, tmp_path / "bundle")


def test_another_normalisation_constant_is_not_written(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(line, monkeypatch)
    monkeypatch.setattr(graphs, "export", tampered(line, "model.onnx", scaled(3, 1.5)))
    with pytest.raises(MetrolineError, match="does not compute what the checkpoint computes"):
        write(line, tmp_path / "bundle")


def test_another_resize_is_not_written(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    keep(line, monkeypatch)

    class Nearest(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            image = pixels.permute(0, 3, 1, 2).float()
            return torch.nn.functional.interpolate(image, (12, 12)).permute(0, 2, 3, 1).to(torch.uint8)

    monkeypatch.undo()
    right = graphs.export_pre
    monkeypatch.setattr(graphs, "export", tampered(line, "model.onnx", lambda graph: True))
    monkeypatch.setattr(graphs, "export_pre", lambda pre, signature, path: right(Nearest(), signature, path))
    with pytest.raises(MetrolineError, match="golden item"):
        write(line, tmp_path / "bundle")


def test_labels_in_another_order_are_refused(line: Line, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(line[1].bundle, bundle)
    signature = Signature.load(bundle / "signature.json")
    output = signature.outputs[0]
    swapped = output.model_copy(update={"labels": output.labels[::-1]})  # type: ignore[union-attr]
    other = signature.model_copy(update={"outputs": (swapped,)})
    item = golden.load(bundle, signature)[0]
    image = decode(signature.inputs[0], item.inputs[0])
    ready = session(bundle / "pre.onnx").run(None, {"image": image[None]})[0]
    (scores,) = session(bundle / "model.onnx").run(None, {"image": ready})
    assert golden.compare(signature, item, {"label": scores[0]}) is None
    moved = golden.load(bundle, other)[0]
    assert golden.compare(other, moved, {"label": scores[0]}) is not None


def test_int8_that_loses_too_much_is_not_written(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(line, monkeypatch)
    monkeypatch.setattr(forward.generic, "int8", lambda source, target, _: tampered_copy(source, target))
    with pytest.raises(MetrolineError, match="int8 makes accuracy worse"):
        write(line, tmp_path / "bundle", int8=True, int8_tolerance=0.01)


def test_precision_auto_takes_int8_only_within_its_limit(line: Line, tmp_path: Path) -> None:
    """Over the limit the bundle has no int8 graph, says why, and is served in fp32; the limit alone makes it so."""
    recipe, paths = line
    serving = recipe.serving.model_copy(update={"precision": "auto"})
    files = {}
    for name, tolerance in (("within", 10.0), ("over", 1e-9)):
        export_section = recipe.export.model_copy(update={"int8_tolerance": tolerance})
        changed = recipe.model_copy(update={"serving": serving, "export": export_section})
        root = tmp_path / name
        shutil.copytree(paths.root, root, ignore=shutil.ignore_patterns("bundle", "raw"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forward.generic, "int8", lambda source, target, _: tampered_copy(source, target))
            export(changed, Paths("bars", root))
        files[name] = Paths("bars", root).bundle
    over, within = (read_json(files[name] / "serving.json")["precision"] for name in ("over", "within"))
    assert (over, within) == ("fp32", "auto")
    assert [(files[name] / "model.int8.onnx").exists() for name in ("over", "within")] == [False, True]
    said = read_json(files["over"] / "parity.json")["int8"]
    assert re.match(r"int8 makes accuracy worse by .* more than export\.int8_tolerance", said["left_out"])
    assert said["accuracy_delta"] < 0
    assert f"It has no int8 form: {said['left_out']}." in (files["over"] / "README.md").read_text()
    assert Bundle.load(files["over"]).graph.name == "model.onnx"
    assert "left_out" not in read_json(files["within"] / "parity.json")["int8"]


def tampered_copy(source: Path, target: Path) -> None:
    proto = onnx.load(source)
    for weight in proto.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype == np.float32 and array.ndim == 2:
            weight.CopyFrom(numpy_helper.from_array(0 * array, weight.name))
    onnx.save(proto, target)


def test_a_network_in_training_mode_is_refused(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    keep(line, monkeypatch)
    monkeypatch.setattr(nn.Module, "eval", lambda module: module.train())
    with pytest.raises((MetrolineError, ValueError), match="training mode"):
        write(line, tmp_path / "bundle")
