"""Candidates made of a bundle of one table and its labels: as good, and bad in one way each."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from base import manifest
from base.files import read_json, write_json
from data import golden
from data.signature import FILE, Signature
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.graph import ForwardGraph
from serving.engines.forward.preparation import Preparation

MEGABYTE = 1 << 20


def copied(bundle: Path, folder: Path, golden_items: int | None = None) -> Path:
    """A bundle like another one; `golden_items`: with so many of them."""
    shutil.copytree(bundle, folder)
    items = read_json(folder / golden.FILE)
    write_json(folder / golden.FILE, items[:golden_items])
    (folder / "README.md").write_text(f"# {folder.name}\n", encoding="utf-8")
    return sealed(folder)


def sealed(folder: Path) -> Path:
    """The manifest made true again."""
    kept = read_json(folder / manifest.NAME)
    manifest.write(folder, {name: kept[name] for name in kept if name not in ("format", "version", "files")})
    return folder


def relabelled(bundle: Path, folder: Path) -> Path:
    """Every label one place further, in the signature and its own golden items: each answer is wrong."""
    copied(bundle, folder)
    signature = Signature.load(folder / FILE)
    output = signature.outputs[0]
    labels = output.labels  # type: ignore[union-attr]
    moved = dict(zip(labels, (*labels[1:], labels[0]), strict=True))
    signature.model_copy(update={"outputs": (output.model_copy(update={"labels": tuple(moved.values())}),)}).save(
        folder
    )
    items = read_json(folder / golden.FILE)
    for item in items:
        item["outputs"][output.name] = {moved[label]: score for label, score in item["outputs"][output.name].items()}
    write_json(folder / golden.FILE, items)
    return sealed(folder)


def edited(bundle: Path, folder: Path, change: "Callable[[onnx.GraphProto, str, str, int], None]") -> Path:
    """`change(graph, input, before, labels)` makes the output out of `before`, its old self."""
    copied(bundle, folder)
    model = onnx.load(folder / "model.onnx")
    graph, name = model.graph, model.graph.output[0].name
    (last,) = [node for node in graph.node if name in node.output]
    last.output[list(last.output).index(name)] = "before"
    size = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    change(graph, graph.input[0].name, "before", size)
    onnx.save(model, folder / "model.onnx")
    return sealed(folder)


def not_finite(bundle: Path, folder: Path, column: int, most: float) -> Path:
    """NaN where a column is over `most`; golden items with such a value are left out."""

    def change(graph: onnx.GraphProto, given: str, before: str, size: int) -> None:
        constant(graph, "places", np.array([column], np.int64))
        constant(graph, "most", np.array([most], np.float32))
        constant(graph, "nought", np.array([0], np.float32))
        nodes = [("Gather", [given, "places"], "one", {"axis": 1}), ("Sub", ["most", "one"], "room", {}),
                 ("Sqrt", ["room"], "root", {}), ("Mul", ["root", "nought"], "nothing", {}),
                 ("Add", [before, "nothing"], graph.output[0].name, {})]  # fmt: skip
        graph.node.extend(helper.make_node(kind, read, [out], **more) for kind, read, out, more in nodes)

    edited(bundle, folder, change)
    name = Signature.load(folder / FILE).inputs[0].columns[column].name  # type: ignore[union-attr]
    items = [each for each in read_json(folder / golden.FILE) if each["inputs"][0][name] <= most]
    write_json(folder / golden.FILE, items)
    return sealed(folder)


def wider(bundle: Path, folder: Path, wide: int, value: float = 0.0) -> Path:
    """The same answers, after two products of `wide` columns that come to nothing."""

    def change(graph: onnx.GraphProto, given: str, before: str, size: int) -> None:
        constant(graph, "up", np.full((size, wide), 1 + value, np.float32))
        constant(graph, "down", np.zeros((wide, size), np.float32))
        nodes: Sequence[tuple[str, list[str], str]] = [
            ("MatMul", [before, "up"], "wide"), ("Relu", ["wide"], "bent"), ("MatMul", ["bent", "down"], "nothing"),
            ("Add", [before, "nothing"], graph.output[0].name),
        ]  # fmt: skip
        graph.node.extend(helper.make_node(kind, read, [out]) for kind, read, out in nodes)

    return edited(bundle, folder, change)


def constant(graph: onnx.GraphProto, name: str, array: Any) -> None:
    """Add one."""
    graph.initializer.append(numpy_helper.from_array(array, name))


def seconds(path: Path, item: bytes) -> float:
    """For one item, from its bytes to its answer, as the endpoint does it; the fastest of many times."""
    bundle, best = ForwardBundle.load(path, "fp32"), 1e9
    prepare, graph = Preparation(bundle), ForwardGraph(bundle.graph, bundle.typed, 1)
    for _ in range(500):
        began = time.perf_counter()
        graph.run([prepare((item,))])
        best = min(best, time.perf_counter() - began)
    return best
