"""Stage `export`: turn the checkpoint into the bundle, and prove that every exported form computes the same.

    metroline stage export speeches

A bundle whose parity is out of bounds is not written at all. Gates and the model store are
`pipelines/release/stage.py`.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from base import manifest
from base.errors import MetrolineError
from base.files import atomic_folder, read_json, sha256, write_json, write_text
from pipelines.paths import Paths

if TYPE_CHECKING:
    from models.decoder.cached import CachedDecoder
    from pipelines.recipe.schema import Recipe

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
    int4: bool = Field(default=False, description="also write model.int4.onnx (4-bit weights)")
    int8_tokens: int = Field(
        default=16384, ge=64, description="tokens of the test split that int8 and int4 are judged on"
    )
    calibration_tokens: int = Field(
        default=8192, ge=64, description="tokens of the validation split that int8 and int4 are calibrated on"
    )
    int8_tolerance: float = Field(default=0.02, gt=0, description="largest relative rise of the loss through int8")
    int4_tolerance: float = Field(default=0.05, gt=0, description="largest relative rise of the loss through int4")


def export(recipe: "Recipe", paths: Paths) -> None:
    """Write `paths.bundle`, whole and proven, or fail and leave none.

    Raises MetrolineError: no checkpoint, not evaluated as it is, a form that does not run, parity out of bounds.
    """
    from base.progress import Progress
    from models.decoder.cached import CachedDecoder
    from models.decoder.huggingface import load
    from pipelines.exporting import forms

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
    count = 2 + config.int4 + config.torchscript + config.pt2
    try:
        with atomic_folder(paths.bundle) as folder, Progress("export", 2 * count, "steps") as progress:
            parity = forms.write(model, folder, config, paths, progress)
            write_json(folder / "parity.json", parity)
            write_papers(recipe, paths, folder, parity, model)
    except MetrolineError:
        shutil.rmtree(paths.bundle, ignore_errors=True)  # an older one is not of this checkpoint
        raise


def write_papers(recipe: "Recipe", paths: Paths, folder: Path, parity: dict[str, Any], model: "CachedDecoder") -> None:
    """Everything beside the graphs: the Hugging Face files, metrics, pictures, card, settings of serving, manifest."""
    from base.commit import git_commit
    from pipelines.exporting import card as model_card

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
        "recipe": recipe.model_dump(mode="json"),
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
    if commit := git_commit(paths.root):
        values["git_commit"] = commit
    manifest.write(folder, values)
