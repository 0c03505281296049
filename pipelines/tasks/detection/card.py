"""What the model card says of a detector."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.markdown import table
from data.signature import FILE, BoxesOutput, Signature
from pipelines.tasks.detection.config import VALUES
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def card(recipe: "Recipe", folder: Path, metrics: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files."""
    pictures = frozenset(path.name for path in folder.glob("*.png"))
    data, output = recipe.data, Signature.load(folder / FILE).outputs[0]
    assert isinstance(output, BoxesOutput)
    return Card(
        library="metroline",
        architecture=recipe.model.kind,
        data="An image and its boxes share a split. The scale of pixels is fitted on train alone and inside the graph. "
        "Boxes without area, outside their image or there twice were left out.",
        counts={"records": "images", "bytes": "bytes of input"},
        targets="images",
        loss="focal loss and boxes' fit per image",
        output="score, or side relative to the box's size",
        parity="batches of several sizes of test images and of noise, and the golden items' raw bytes",
        quality=_quality(metrics, output, pictures),
        limits=(
            "It knows what its images show, no more: other microscopes, cameras or places may differ.",
            f"It sees images at {data.width} x {data.height} pixels, whatever their shape; things that are small in a "
            f"large image, or in one that is much longer than wide, are lost.",
            f"It finds {output.shape[0]} things at most, and of two of one label that overlap by more than "
            f"{output.iou:g} only one.",
            "Its architecture is Metroline's own; other libraries run the exported graphs.",
        ),
        pictures=pictures,
        more=(
            "## Inputs and outputs\n\n- `image`: JPEG or PNG of any size.\n- `boxes`: of each thing its label ("
            + ", ".join(f"`{label}`" for label in output.labels)
            + f"), score and box in pixels of that image, from a score of {output.threshold:.3g} on (chosen on the "
            'validation split by F1); `parameters: {"threshold": ...}` asks for another, down to '
            f"{output.least:g}.",
        ),
    )


def _quality(metrics: Mapping[str, Any], output: BoxesOutput, pictures: frozenset[str]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    rows = [
        ("this model", *(f"{test[name]:.4g}" for name in VALUES)),
        ("blobs of colour", *(f"{baselines[f'floor_{name}']:.4g}" for name in VALUES)),
    ]
    labels = [(name.removeprefix("label="), f"{each['map50']:.4g}", f"{each['items']:,}")
              for name, each in metrics["groups"].items()]  # fmt: skip
    parts = [
        f"On the test split ({test['items']} images), by pycocotools. mAP50: mean average precision at an overlap of "
        "0.5 (intersection over union); mAP: the mean over overlaps from 0.5 to 0.95. Precision and recall are those "
        f"of the answer, from a score of {output.threshold:.3g} on.",
        table(("", "mAP50", "mAP", "precision", "recall"), rows),
        table(("label", "average precision at 0.5", "boxes"), labels),
    ]
    return "\n\n".join([*parts, *(["![Images, boxes and answers](boxes.png)"] if "boxes.png" in pictures else [])])
