"""The forms of a model of engine `forward`, each held against the checkpoint over test items, random ones, and the
golden items' raw bytes.

model.onnx takes decoded inputs with any batch; pre.onnx, of images, brings one of any size to the network's. int8 is
judged by the task's primary value. A form that is off is not written, and neither is the bundle.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from base.errors import MetrolineError
from base.forms import FORMS
from base.progress import Progress
from data import boxes, golden
from data.signature import BoxesOutput, LabelsOutput, MaskOutput, Signature, VectorOutput
from pipelines.exporting import graphs
from pipelines.exporting.cases import cases
from pipelines.exporting.quantize import generic

if TYPE_CHECKING:
    from pipelines.recipe.export_section import ForwardExport
    from pipelines.tasks.interface import Forward, Predict

NEEDED = ("config.json",)
"""Files of the checkpoint without which it cannot be served."""
PRE = "pre.onnx"


def steps(config: "ForwardExport") -> int:
    """How often `write` reports progress."""
    return 2 * (1 + config.int8 + config.pt2) + 1


def facts(exportable: "Forward", folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What serving.json and the manifest's `model` say besides what every bundle says."""
    settings = {} if (folder / FORMS["int8"].file).is_file() else {"precision": "fp32"}
    parameters = sum(weight.numel() for weight in exportable.model.parameters())
    return settings, {"engine": "forward", "parameters": parameters}


def write(exportable: "Forward", folder: Path, config: "ForwardExport", progress: Progress) -> dict[str, Any]:
    """Write and compare all forms. Returns the contents of parity.json; raises MetrolineError when one is off."""
    if any(part.training for part in exportable.model.modules()):
        raise MetrolineError("export: a part of the network is in training mode", hint="a fault of the task")
    signature = exportable.signature
    signature.save(folder)
    example = next(exportable.examples("test", 3))
    graphs.export(exportable.model, signature, example, folder / FORMS["onnx"].file)
    progress.update(advance=1, form="onnx")
    if exportable.pre is not None:
        graphs.export_pre(exportable.pre, signature, folder / PRE)
    found = {"onnx": _compared(exportable, folder, config, "onnx")}
    progress.update(advance=1, parity="onnx")
    _golden(exportable, folder)
    progress.update(advance=1, parity="golden")
    if config.pt2:
        graphs.export_pt2(exportable.model, signature, example, folder / FORMS["pt2"].file)
        found["pt2"] = _compared(exportable, folder, config, "pt2")
        progress.update(advance=2, form="pt2")
    if config.int8:
        calibration = list(exportable.examples("valid", config.calibration_items))
        generic.int8(folder / FORMS["onnx"].file, folder / FORMS["int8"].file, calibration)
        progress.update(advance=1, form="int8")
        found["int8"] = _compared(exportable, folder, config, "int8") | _judged(exportable, folder, config)
        if "left_out" in found["int8"]:
            (folder / FORMS["int8"].file).unlink()
        progress.update(advance=1, parity="int8")
    return found


Arrays = Mapping[str, NDArray[Any]]


def _compared(exportable: "Forward", folder: Path, config: "ForwardExport", form: str) -> dict[str, Any]:
    """The largest differences to the checkpoint over all cases. Raises MetrolineError when one is too large."""
    path, signature = folder / FORMS[form].file, exportable.signature
    run, own = graphs.runner(path, signature), graphs.module_runner(exportable.model, signature)
    rows = []
    for case, inputs in cases(exportable, config):
        expected, given = own(inputs), run(inputs)
        rows.append({**case, "max_abs": _distance(signature, expected, given)})
    worst = max(rows, key=lambda row: row["max_abs"])
    if form != "int8" and not worst["max_abs"] <= config.tolerance:
        raise MetrolineError(
            f"export: {form} does not compute what the checkpoint computes: off by {worst['max_abs']:.3g} with {worst}",
            hint=f"export.tolerance is {config.tolerance:g}",
        )
    if not np.isfinite(worst["max_abs"]):
        raise MetrolineError(f"export: {form} gives answers that are not finite")
    return {"max_abs": worst["max_abs"], "cases": rows, "bytes": path.stat().st_size}


def _distance(signature: Signature, expected: Arrays, given: Arrays) -> float:
    """The largest difference of any output; of numbers relative to their median size, of a vector to its length, of
    boxes to theirs, as golden items compare."""
    worst = 0.0
    for output in signature.outputs:
        wanted, got = expected[output.name], given[output.name]
        if wanted.shape != got.shape:
            return float("inf")
        if isinstance(output, BoxesOutput):
            pairs = [(boxes.rows_of(output, one), boxes.rows_of(output, other))
                     for one, other in zip(wanted, got, strict=True)]  # fmt: skip
            difference = max(boxes.apart(*pair, output.least) for pair in pairs)
        elif isinstance(output, VectorOutput):
            difference = golden.apart(wanted.reshape(len(wanted), -1), got.reshape(len(got), -1))
        else:
            scale = 1.0 if isinstance(output, LabelsOutput | MaskOutput) else float(np.median(np.abs(wanted))) or 1.0
            difference = float(np.abs(wanted - got).max()) / scale
        worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    return worst


def _golden(exportable: "Forward", folder: Path) -> None:
    """Write golden/: what the checkpoint says of raw items; then hold the graphs against it, as serving will."""
    signature, model, pre = exportable.signature, exportable.model, exportable.pre
    own, answers = graphs.module_runner(model, signature), []
    run = graphs.runner(folder / FORMS["onnx"].file, signature)
    resize = graphs.pre_runner(folder / PRE, signature) if pre is not None else None
    for raw in exportable.golden:
        inputs = decoded = exportable.decode(raw)
        if pre is not None:
            name = signature.inputs[0].name
            with torch.no_grad():
                inputs = {name: pre(torch.from_numpy(inputs[name].copy())).numpy()}
        answers.append(_first(signature, decoded, own(inputs)))
    golden.write(folder, signature, exportable.golden, answers)
    for item in golden.load(folder, signature):
        inputs = decoded = exportable.decode(item.inputs)
        if resize is not None:
            inputs = dict(resize(inputs))
        got = _first(signature, decoded, run(inputs))
        if problem := golden.compare(signature, item, got):
            raise MetrolineError(f"export: a golden item is answered otherwise by the graph: {problem}")


def _first(signature: Signature, decoded: Arrays, outputs: Arrays) -> dict[str, NDArray[Any]]:
    """The outputs of the one item of a batch, as they are said of what was decoded."""
    arrays = [decoded[each.name][0] for each in signature.inputs]
    names = [each.name for each in signature.outputs]
    return dict(zip(names, boxes.finished(signature, arrays, [outputs[name][0] for name in names]), strict=True))


def _judged(exportable: "Forward", folder: Path, config: "ForwardExport") -> dict[str, Any]:
    """int8's primary value beside fp32's, and `left_out`, why it is, where it is worse by more than the tolerance and
    optional. Raises MetrolineError when it is not."""
    signature = exportable.signature

    def values(form: str) -> dict[str, float]:
        run: Predict = graphs.runner(folder / FORMS[form].file, signature)
        return exportable.quality(run, config.int8_items)

    fp32, int8 = values("onnx"), values("int8")
    name = next(iter(fp32))
    delta = (int8[name] - fp32[name]) / (abs(fp32[name]) or 1.0)
    worse = -delta if exportable.primary.better == "higher" else delta
    found: dict[str, Any] = {f"{name}_delta": delta, name: int8[name], "items": int8["items"]}
    if worse <= config.int8_tolerance:
        return found
    why = (
        f"int8 makes {name} worse by {100 * worse:.2f} % ({fp32[name]:.4g} → {int8[name]:.4g}), more than "
        f"export.int8_tolerance ({100 * config.int8_tolerance:g} %)"
    )
    if "int8" not in exportable.optional:
        raise MetrolineError(
            f"export: {why}",
            hint="raise it, or leave int8 out: serving: {precision: auto} where it loses too much, or export: "
            "{int8: false}",
        )
    return found | {"left_out": why}
