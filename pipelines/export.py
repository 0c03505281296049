"""Stage `export`: turn the checkpoint into the bundle, and prove that every exported form computes the same.

    metroline stage export speeches

A bundle whose parity is out of bounds is not written at all. Gates and the model store are `pipelines/release.py`.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from data.errors import MetrolineError
from data.files import atomic_folder, read_json, sha256, write_json, write_text
from pipelines.paths import Paths

if TYPE_CHECKING:
    from data.progress import Progress
    from models.export import CachedDecoder
    from pipelines.recipe import Recipe

FROM_CHECKPOINT = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
)


class ExportConfig(BaseModel):
    """Which forms are exported and how closely they must agree with the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    torchscript: bool = Field(default=True, description="also write model.ts (legacy: deprecated by PyTorch)")
    pt2: bool = Field(default=True, description="also write model.pt2 (torch.export)")
    batch_sizes: tuple[int, ...] = Field(default=(1, 3), min_length=1, description="batch sizes of the parity cases")
    lengths: tuple[int, ...] = Field(default=(1, 7, 64), min_length=1, description="new tokens of the parity cases")
    tolerance: float = Field(default=1e-3, gt=0, description="largest absolute difference of a logit")
    int8: Literal["blockwise", "dynamic"] = Field(
        default="blockwise",
        description="how model.int8.onnx is quantized (see pipelines/exporting/onnx_int8.py)",
    )
    int8_tokens: int = Field(default=16384, ge=64, description="tokens of the test split that int8 is judged on")
    int8_tolerance: float = Field(default=0.02, gt=0, description="largest relative rise of the loss through int8")


def export(recipe: "Recipe", paths: Paths) -> None:
    """Write `paths.bundle`, whole and proven, or fail and leave none.

    Raises MetrolineError: no checkpoint, not evaluated as it is, a form that does not run, parity out of bounds.
    """
    from data.progress import Progress
    from models.export import CachedDecoder
    from models.huggingface import load

    config = recipe.export
    needed = [*(paths.checkpoint / name for name in FROM_CHECKPOINT), paths.checkpoint / "training.json"]
    for path in (*needed, paths.metrics, paths.evaluation / "reference.json"):
        if not path.is_file():
            raise MetrolineError(f"{path} is missing", hint=f"metroline run {recipe.name}")
    try:
        model = CachedDecoder(load(paths.checkpoint).eval())
    except ValueError as error:  # a shape that ONNX Runtime has no attention for
        raise MetrolineError(f"export: {error}") from None
    if read_json(paths.evaluation / "reference.json").get("checkpoint") != sha256(
        paths.checkpoint / "model.safetensors"
    ):
        raise MetrolineError(
            f"{paths.metrics} is of another checkpoint than {paths.checkpoint}",
            hint=f"metroline stage evaluate {recipe.name}",
        )
    forms = 2 + config.torchscript + config.pt2
    try:
        with atomic_folder(paths.bundle) as folder, Progress("export", 2 * forms, "steps") as progress:
            parity = write_forms(model, folder, config, paths, progress)
            write_json(folder / "parity.json", parity)
            write_papers(recipe, paths, folder, parity, model)
    except MetrolineError:
        shutil.rmtree(paths.bundle, ignore_errors=True)  # an older one is not of this checkpoint
        raise


def write_forms(
    model: "CachedDecoder", folder: Path, config: ExportConfig, paths: Paths, progress: "Progress"
) -> dict[str, Any]:
    """Write and compare all forms. Returns the contents of parity.json; raises MetrolineError when one is off."""
    from pipelines.exporting import onnx_fp32, onnx_int8, parity, pt2, runners, torchscript

    files = {"onnx": folder / "model.onnx", "int8": folder / "model.int8.onnx"}
    onnx_fp32.export(model, files["onnx"])
    progress.update(advance=1, form="onnx")
    onnx_int8.export(files["onnx"], files["int8"], config.int8)
    progress.update(advance=1, form="int8")
    if config.pt2:
        files["pt2"] = folder / "model.pt2"
        pt2.export(model, files["pt2"])
        progress.update(advance=1, form="pt2")
    if config.torchscript:
        files["torchscript"] = folder / "model.ts"
        torchscript.export(model, files["torchscript"])
        progress.update(advance=1, form="torchscript")

    found: dict[str, Any] = {}
    for form, path in files.items():
        runner = runners.open_runner(form, path, model)
        found[form] = parity.compare(runner, model.model, config.batch_sizes, config.lengths)
        if form == "int8":
            found[form] |= onnx_int8.loss(
                runner, runners.open_runner("onnx", files["onnx"], model), model, config, paths
            )
        progress.update(advance=1, parity=form)
        check_parity(form, found[form], config)
    return found


def check_parity(form: str, found: dict[str, Any], config: ExportConfig) -> None:
    """Raise MetrolineError when a form does not compute what the checkpoint does."""
    if form == "int8":
        if not found["loss_delta"] <= config.int8_tolerance:
            raise MetrolineError(
                f"export: int8 raises the loss by {100 * found['loss_delta']:.2f} %, "
                f"more than export.int8_tolerance ({100 * config.int8_tolerance:g} %)"
            )
        if found["max_abs"] == float("inf"):
            raise MetrolineError("export: int8 gives logits that are not finite")
    elif not found["max_abs"] <= config.tolerance:
        worst = max(found["cases"], key=lambda case: case["max_abs"])
        raise MetrolineError(
            f"export: {form} does not compute what the checkpoint computes: a logit is off by {found['max_abs']:.3g} "
            f"with {worst}",
            hint=f"export.tolerance is {config.tolerance:g}",
        )


def write_papers(recipe: "Recipe", paths: Paths, folder: Path, parity: dict[str, Any], model: "CachedDecoder") -> None:
    """Everything beside the graphs: the Hugging Face files, metrics, pictures, card, settings of serving, manifest."""
    from pipelines import manifest, model_card

    for name in FROM_CHECKPOINT:
        shutil.copyfile(paths.checkpoint / name, folder / name)
    if (template := paths.checkpoint / "chat_template.jinja").is_file():
        shutil.copyfile(template, folder / template.name)
    shutil.copyfile(paths.metrics, folder / "metrics.json")
    shutil.copyfile(paths.evaluation / "reference.json", folder / "reference.json")
    pictures = [path for path in (paths.checkpoint / "curves.png", paths.evaluation / "groups.png") if path.is_file()]
    for picture in pictures:
        shutil.copyfile(picture, folder / picture.name)
    index, metrics = read_json(paths.prepared / "index.json"), read_json(paths.metrics)
    card = model_card.render(
        recipe,
        index=index,
        config=read_json(folder / "config.json"),
        training=read_json(paths.checkpoint / "training.json"),
        metrics=metrics,
        parity=parity,
        samples=read_json(paths.evaluation / "samples.json"),
        pictures=[picture.name for picture in pictures],
    )
    write_text(folder / "README.md", card)
    shape = model.model.config
    write_json(
        folder / "serving.json",
        {
            "name": recipe.name,
            "context": shape.context,
            "max_tokens": recipe.serving.max_tokens,
            "precision": recipe.serving.precision,
            "eos": read_json(folder / "generation_config.json")["eos_token_id"],
        },
    )
    values = {
        "name": recipe.name,
        "licence": recipe.licence,
        "data_hash": index["data_hash"],
        "recipe": manifest.plain(recipe),
        "metrics": metrics,
        "parity": parity,
        "model": {
            "layers": shape.layers,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "vocab_size": shape.vocab_size,
            "context": shape.context,
            "eos": index["eos"],
        },
    }
    if commit := manifest.git_commit(paths.root):
        values["git_commit"] = commit
    manifest.write(folder, values)
