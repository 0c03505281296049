"""A recipe's adapter alone, as a bundle that is served beside others over its base: `export: {merged: false}`.

The base is another recipe's bundle, exported with room (`export: {adapters: 4}`). The adapter's numbers are rounded to
bfloat16 and put into the frame of each graph of the base; then each graph with them is held against the checkpoint, in
which the adapter is merged: the float32 graph against the base with the rounded adapter merged, logit by logit, and all
by their loss on the test split.
"""

import copy
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from base import adapters, manifest
from base.errors import MetrolineError
from base.files import write_json
from base.forms import FORMS
from base.progress import Progress
from models import adapter_files
from models.adapters import adapted, merge
from models.checkpoint import load
from models.decoder.cached import CachedDecoder
from models.decoder.huggingface import published
from models.decoder.model import Decoder
from pipelines.exporting import decode, parity, runners
from pipelines.exporting.adapters.bank import ARRAYS, FILE, Layout, Matrices
from pipelines.exporting.quantize import quality
from pipelines.paths import Paths
from pipelines.recipe.sections import RecipeSource

if TYPE_CHECKING:
    from pipelines.recipe.export_section import DecodeExport
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.interface import Decode


class AdapterExport:
    """What stage `export` asks of an engine, for an adapter alone."""

    NEEDED = decode.NEEDED
    left_out = ("model.safetensors",)
    """Of the checkpoint: the base has the weights."""

    def __init__(self, recipe: "Recipe", paths: Paths) -> None:
        source = recipe.pretrained.source
        assert isinstance(source, RecipeSource)  # recipe.consistency
        self._base, self._paths = source.name, paths
        self._bundle = Paths(source.name, paths.root).bundle

    def steps(self, config: "DecodeExport") -> int:
        """How often `write` reports progress."""
        return 2 + config.int4

    def facts(self, exportable: "Decode", folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """What serving.json and the manifest's `model` say: all else is the base's."""
        return {}, {"adapter_of": self._base}

    def write(self, exportable: "Decode", folder: Path, config: "DecodeExport", progress: Progress) -> dict[str, Any]:
        """Write the adapter for each graph of its base and compare it. Returns the contents of parity.json.

        Raises MetrolineError: no base with room for it, an adapter of other weights, a rank above the base's, numbers
        that are not finite, a graph that does not compute what the checkpoint does.
        """
        files = manifest.verify(self._bundle)["files"]
        layout = Layout.load(self._bundle)
        network = load(self._bundle)
        assert isinstance(network, Decoder)
        sha256 = files["model.safetensors"]
        adapter_files.read(
            self._paths.adapter, network, base_sha256=sha256,
            published=lambda layer: published(network.config, layer),
        )  # fmt: skip
        found = matrices(network)
        reference = CachedDecoder(rounded(network))
        held_out, tokens = exportable.held_out, config.int8_tokens
        assert isinstance(exportable.model, CachedDecoder)
        wanted = held_out.losses(_logits(exportable.model.model), quality.window(exportable.model), tokens)
        results: dict[str, Any] = {}
        for form, described in FORMS.items():
            if described.precision not in layout.forms:
                continue
            row = layout.row(described.precision, found)
            path = folder / f"adapter.{described.precision}.npy"
            np.save(path, row)
            runner = runners.open_runner(form, self._bundle / described.file, reference, row)
            tolerance = np.inf if form in decode.QUANTIZED else config.tolerance
            results[form] = parity.compare(runner, reference.model, config.batch_sizes, config.lengths, tolerance)
            results[form]["bytes"] = path.stat().st_size
            cached = form in decode.QUANTIZED
            nats = quality.losses(runner, exportable.model, tokens, held_out, cached=cached)
            results[form] |= quality.compare(nats, wanted)
            progress.update(advance=1, parity=form)
            decode.check(form, results[form], config)
        shutil.copytree(self._paths.adapter, folder / self._paths.adapter.name)
        said = {"base": self._base, "base_sha256": sha256, "rank": max(a.shape[1] for a, _ in found.values()),
                "layout": {name: files[name] for name in (FILE, ARRAYS)}}  # fmt: skip
        write_json(folder / adapters.FILE, said)
        return results


def matrices(network: Decoder) -> dict[str, Matrices]:
    """What the adapters of a network add, by layer. Raises MetrolineError for DoRA, which scales products, and for
    QLoRA, which was trained on other weights than the base is served with."""
    found = {}
    for name, layer in adapted(network).items():
        if layer.form.decomposed:
            raise MetrolineError("a DoRA adapter cannot be served beside others", hint="export: {merged: true}")
        if layer.form.quantized:
            raise MetrolineError("an adapter of a base in four bits is merged", hint="export: {merged: true}")
        found[name] = (layer.lora_a.detach().numpy().T, layer.scaling * layer.lora_b.detach().numpy().T)
    return found


def rounded(network: Decoder) -> Decoder:
    """A copy with its adapters merged as the float32 graph has them: A and the scaled B in bfloat16."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for layer in adapted(other).values():
            for weight, scale in ((layer.lora_a, 1.0), (layer.lora_b, layer.scaling)):
                bits = (scale * weight.detach()).numpy().astype(ml_dtypes.bfloat16).astype(np.float32)
                weight.copy_(torch.from_numpy(bits / np.float32(scale)))
    merge(other)
    return other.eval()


def _logits(model: Decoder) -> Any:
    """The checkpoint's own logits, [B, S] → [B, S, V]."""

    def logits(tokens: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(tokens)

    return logits
