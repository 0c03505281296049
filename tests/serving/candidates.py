"""Candidates to be tried beside a bundle of forward_bundles.table: as good, and bad in one way each."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from base import manifest
from base.delivery import Plan
from base.files import read_json
from pipelines.release.store import Pointers, Store
from tests.serving import forward_bundles
from tests.serving.forward_bundles import FLOWER

HIGH = 1000.0
"""Income from which the candidate of `not_finite` has no number; golden items are all below."""


def same(folder: Path) -> Path:
    """Other bytes, the same answers."""
    forward_bundles.table(folder)
    (folder / "README.md").write_text("# another\n")
    forward_bundles.reseal(folder)
    return folder


def swapped(folder: Path) -> Path:
    """The labels in another order: its own golden items agree with it."""
    labels = FLOWER.outputs[0].model_copy(update={"labels": ("middle", "high", "low")})
    return forward_bundles.table(folder, "flower", FLOWER.model_copy(update={"outputs": (labels,)}))


def slow(folder: Path, wide: int = 16_384) -> Path:
    """The same answers, after products that come to nothing."""
    forward_bundles.table(folder)
    with edited(folder) as graph:
        labels = FLOWER.outputs[0].shape[0]
        graph.initializer.append(numpy_helper.from_array(np.ones((labels, wide), np.float32), "up"))
        graph.initializer.append(numpy_helper.from_array(np.zeros((wide, labels), np.float32), "down"))
        graph.node.extend([
            helper.make_node("MatMul", ["probabilities", "up"], ["wide"]), helper.make_node("Relu", ["wide"], ["bent"]),
            helper.make_node("MatMul", ["bent", "down"], ["nothing"]),
            helper.make_node("Add", ["probabilities", "nothing"], ["label"]),
        ])  # fmt: skip
    return folder


def not_finite(folder: Path) -> Path:
    """NaN for incomes over HIGH, and no golden item has one."""
    forward_bundles.table(folder)
    with edited(folder) as graph:
        constants = {"most": [0, HIGH, 0], "which": [0, 1, 0], "nought": [0]}
        for name, values in constants.items():
            graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), name))
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
        graph.node.extend([
            helper.make_node("Sub", ["most", "row"], ["left"]),
            helper.make_node("Mul", ["left", "which"], ["of_income"]),
            helper.make_node("Where", ["known", "of_income", "nought"], ["finite"]),
            helper.make_node("ReduceSum", ["finite", "axis"], ["room"]), helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Mul", ["root", "nought"], ["nothing"]),
            helper.make_node("Add", ["probabilities", "nothing"], ["label"]),
        ])  # fmt: skip
        graph.node.insert(0, helper.make_node("Equal", ["row", "row"], ["known"]))  # a missing age is NaN
    kept = [each for each in read_json(folder / "golden/golden.json") if each["inputs"][0]["income"] < HIGH]
    (folder / "golden/golden.json").write_text(json.dumps(kept))
    forward_bundles.reseal(folder)
    return folder


@contextmanager
def edited(folder: Path) -> Iterator[onnx.GraphProto]:
    """The graph of a bundle, whose output `label` is now called `probabilities`; sealed again at the end."""
    model = onnx.load(folder / "model.onnx")
    (last,) = [node for node in model.graph.node if "label" in node.output]
    last.output[0] = "probabilities"
    yield model.graph
    onnx.save(model, folder / "model.onnx")
    forward_bundles.reseal(folder)


def resealed(folder: Path) -> None:
    """Any bundle's manifest made true again."""
    kept = read_json(folder / manifest.NAME)
    manifest.write(folder, {name: kept[name] for name in kept if name not in ("format", "version", "files")})


def plan(mode: str, **values: Any) -> Plan:
    """A plan that decides within a test's patience."""
    return Plan.of({"id": "aa11", "mode": mode, "share": 0.5, "requests": 150, **values})


def released(home: Path, live: Path, candidate: Path | None = None, tried: Plan | None = None) -> Store:
    """A store in which one bundle is live, and another is tried beside it."""
    store, tags = Store(home), []
    for bundle in filter(None, (live, candidate)):
        found = read_json(bundle / "manifest.json")
        tags.append(f"{found['name']}:{found['version']}")
        store.put(bundle, tags[-1], labels={})
    name = tags[0].partition(":")[0]
    store.point(name, Pointers(tags[0], None, tags[1] if candidate else None, tried.values() if tried else None))
    return store


BAD: dict[str, Callable[[Path], Path]] = {"swapped": swapped, "slow": slow, "not_finite": not_finite}
