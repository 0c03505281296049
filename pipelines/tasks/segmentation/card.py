"""What the model card says of a segmenter."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.markdown import table
from pipelines.tasks.interface import Card
from pipelines.tasks.segmentation.config import VALUES

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def card(recipe: "Recipe", folder: Path, metrics: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files."""
    pictures = frozenset(path.name for path in folder.glob("*.png"))
    data = recipe.data
    return Card(
        library="metroline",
        architecture=recipe.model.kind,
        data="An image and its mask share a split. The scale of pixels is fitted on train alone and inside the graph.",
        counts={"records": "images", "bytes": "bytes of input"},
        targets="images",
        loss="nats per pixel",
        output="probability",
        parity="batches of several sizes of test images and of noise, and the golden items' raw bytes",
        quality=_quality(recipe, metrics, pictures),
        limits=(
            "It knows what its images show, no more: other microscopes, cameras or tissues may differ.",
            f"It sees images at {data.width} x {data.height} pixels; larger ones are made smaller first.",
            "It gives one of its labels to every pixel, also to what is none of them.",
            "Its architecture is Metroline's own; other libraries run the exported graphs.",
        ),
        pictures=pictures,
        more=(
            "## Inputs and outputs\n\n- `image`: JPEG or PNG of any size.\n- `mask`: for each of "
            + ", ".join(f"`{label}`" for label in data.labels)
            + " a PNG, white where it is the likeliest, its share of the area, and the mean probability there.",
        ),
    )


def _quality(recipe: "Recipe", metrics: Mapping[str, Any], pictures: frozenset[str]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    subject = recipe.task.subject or [*recipe.data.labels][-1]
    rows = [
        ("this model", *(f"{test[name]:.4g}" for name in VALUES)),
        ("the best border of brightness", *(f"{baselines[f'floor_{name}']:.4g}" for name in VALUES)),
    ]
    labels = [(name.removeprefix("label="), f"{each['dice']:.4g}", f"{each['items']:,}")
              for name, each in metrics["groups"].items()]  # fmt: skip
    parts = [
        f"On the test split ({test['items']} images), over all their pixels.",
        table(("", "pixel error", f"Dice of {subject}", "mean overlap over union"), rows),
        table(("label", "Dice", "pixels"), labels),
    ]
    return "\n\n".join([*parts, *(["![Images, masks and answers](masks.png)"] if "masks.png" in pictures else [])])
