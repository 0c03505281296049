"""The forms of a model of engine `decode`, each held against the checkpoint over and without a cache.

Those of a model with a state of fixed size are `stepwise.py`'s.
"""

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from base.errors import MetrolineError
from base.files import read_json
from base.forms import FORMS
from base.progress import Progress
from models.common.stateful import Stepper
from models.decoder.cached import CachedDecoder
from pipelines.exporting import parity, pt2, runners, stepwise, torchscript
from pipelines.exporting.adapters import insert
from pipelines.exporting.adapters.bank import FILE as ROOM
from pipelines.exporting.adapters.bank import Layout
from pipelines.exporting.onnx import fp32 as onnx_fp32
from pipelines.exporting.quantize import int4 as onnx_int4
from pipelines.exporting.quantize import int8 as onnx_int8
from pipelines.exporting.quantize import quality, ranges, rotation
from pipelines.exporting.quantize.frames import Frames, new_frames

if TYPE_CHECKING:
    from pipelines.recipe.export_section import DecodeExport
    from pipelines.tasks.interface import Decode, HeldOut

QUANTIZED = ("int8", "int4")


NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
"""Files of the checkpoint without which it cannot be served."""


def steps(config: "DecodeExport") -> int:
    """How often `write` reports progress."""
    return 2 * (2 + config.int4 + config.torchscript + config.pt2)


def facts(exportable: "Decode", folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What serving.json and the manifest's `model` say besides what every bundle says."""
    shape = exportable.model.model.config
    eos = read_json(folder / "generation_config.json")["eos_token_id"]
    model = {
        "vocab_size": shape.vocab_size,
        "context": shape.context,
        "eos": read_json(exportable.prepared / "index.json")["eos"],
    }
    if isinstance(exportable.model, Stepper):
        model["cache"] = "state"
    else:
        shape = exportable.model.model.config
        model |= {"cache": "kv", "layers": shape.layers, "kv_heads": shape.kv_heads, "head_dim": shape.head_dim}
        if (folder / ROOM).is_file():
            model["adapters"] = Layout.load(folder).count
    return {"context": shape.context, "eos": eos, **exportable.settings}, model


def write(exportable: "Decode", folder: Path, config: "DecodeExport", progress: Progress) -> dict[str, Any]:
    """Write and compare all forms. Returns the contents of parity.json; raises MetrolineError when one is off."""
    model, held_out = exportable.model, exportable.held_out
    if isinstance(model, Stepper):
        if config.adapters:
            raise MetrolineError("export.adapters: only a model with a key/value cache has room for adapters")
        return stepwise.write(model, folder, config, progress)
    wanted = {"onnx": True, "int8": True, "int4": config.int4, "pt2": config.pt2, "torchscript": config.torchscript}
    files = {form: folder / FORMS[form].file for form, asked in wanted.items() if asked}
    onnx_fp32.export(model, files["onnx"])
    progress.update(advance=1, form="onnx")
    frames = quantize(model, files, config, held_out, progress)
    if config.adapters:
        make_room(model, files, folder, config, frames)
    for form, exporter in (("pt2", pt2), ("torchscript", torchscript)):
        if form in files:
            exporter.export(model, files[form])
            progress.update(advance=1, form=form)

    found: dict[str, Any] = {}
    fp32: np.ndarray | None = None
    for form, path in files.items():
        runner = runners.open_runner(form, path, model)
        tolerance = math.inf if form in QUANTIZED else config.tolerance
        found[form] = parity.compare(runner, model.model, config.batch_sizes, config.lengths, tolerance)
        found[form]["bytes"] = path.stat().st_size
        if form == "onnx":
            fp32 = quality.losses(runner, model, config.int8_tokens, held_out)
        if form in QUANTIZED and fp32 is not None:
            nats = quality.losses(runner, model, config.int8_tokens, held_out, cached=True)
            found[form] |= quality.compare(nats, fp32)
        progress.update(advance=1, parity=form)
        check(form, found[form], config)
    return found


def quantize(
    model: CachedDecoder, files: dict[str, Path], config: "DecodeExport", held_out: "HeldOut", progress: Progress
) -> Frames:
    """Calibrate on the validation split and write the quantized forms that are among `files`. Returns what became of
    the matrices in int8."""
    runners.open_runner("onnx", files["onnx"], model)  # says what is wrong with it, in one line
    windows = list(quality.calibration(model, config.calibration_tokens, held_out))
    if not windows:
        raise MetrolineError(
            "export: the validation split has no text to calibrate int8 on", hint="raise split.valid in the recipe"
        )
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "rotated.onnx"
        frames = rotation.write(files["onnx"], source)
        onnx_int8.export(source, files["int8"], *ranges.measure(source, windows), frames)
        progress.update(advance=1, form="int8")
    if "int4" in files:
        onnx_int4.export(files["onnx"], files["int4"], *ranges.measure(files["onnx"], windows))
        progress.update(advance=1, form="int4")
    return frames


def make_room(
    model: CachedDecoder, files: dict[str, Path], folder: Path, config: "DecodeExport", frames: Frames
) -> None:
    """Give all graphs room for adapters, and write down where these go. Raises MetrolineError: widths that the
    operators do not take."""
    layout = Layout(config.adapters, config.adapter_rank)
    found = insert.products(files["onnx"], model.model)
    for form in ("onnx", *QUANTIZED):
        if form in files:
            turned = frames if form == "int8" else new_frames()
            layout.forms[FORMS[form].precision] = insert.insert(files[form], model.model, found, layout.rank, turned)
    layout.save(folder)


def check(form: str, found: dict[str, Any], config: "DecodeExport") -> None:
    """Raise MetrolineError when a form does not compute what the checkpoint does."""
    if form in QUANTIZED:
        tolerance = getattr(config, f"{form}_tolerance")
        if not found["loss_delta"] <= tolerance:
            raise MetrolineError(
                f"export: {form} raises the loss by {100 * found['loss_delta']:.2f} %, "
                f"more than export.{form}_tolerance ({100 * tolerance:g} %)"
            )
        if found["max_abs"] == float("inf"):
            raise MetrolineError(f"export: {form} gives logits that are not finite")
    elif not found["max_abs"] <= config.tolerance:
        worst = max(found["cases"], key=lambda case: case["max_abs"])
        raise MetrolineError(
            f"export: {form} does not compute what the checkpoint computes: a logit is off by {found['max_abs']:.3g} "
            f"with {worst}",
            hint=f"export.tolerance is {config.tolerance:g}",
        )
