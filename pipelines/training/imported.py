"""Stage `train` of a recipe with pretrained weights and `train: {}`: they are the checkpoint, no step is made.

    metroline stage train smollm2

It changes no weight: what is written is what the file holds, in float32. What reads the file is the task's. A task that
`Builds` its checkpoint, as an index is built with the embedder of another recipe, does so here too.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import MetrolineError
from base.files import atomic_folder, write_json
from pipelines.paths import Paths
from pipelines.tasks.interface import Builds
from pipelines.training import first, used

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.interface import Learner


def only_imports(recipe: "Recipe") -> bool:
    """Whether the recipe's pretrained weights are taken as they are."""
    return recipe.pretrained.source is not None and not recipe.train.model_fields_set


def import_weights(recipe: "Recipe", paths: Paths) -> None:
    """Write `paths.checkpoint` from the fetched weights and the prepared data; equal input gives equal bytes.

    Raises MetrolineError: nothing fetched or prepared, damaged or unsupported weights, weights of another shape.
    """
    files = first.folder(recipe, paths)
    assert files is not None
    for path in (files, paths.prepared / "index.json"):
        if not path.exists():
            raise MetrolineError(f"{path} is missing", hint=f"metroline run {recipe.name}")
    learner = used.task(recipe, paths).learner(paths.prepared, files)
    with atomic_folder(paths.checkpoint) as folder:
        if isinstance(learner, Builds):
            record = dict(learner.build(folder, paths.training))
        else:
            record = _imported(learner, folder) | {"imported": first.hashes(files)}
        write_json(folder / "training.json", {"recipe": recipe.name, "data_hash": learner.data_hash} | record)


def _imported(learner: "Learner", folder: Path) -> dict[str, Any]:
    import torch

    network = learner.network(torch.Generator()).eval()
    learner.save(network, folder)
    return {"parameters": sum(weight.numel() for weight in network.parameters())}
