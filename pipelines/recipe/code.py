"""Which source files each stage of a recipe runs, and their hash: what DVC and the trainer call the code.

    python -m pipelines.recipe.code        # writes artifacts/code.json, which the stages of dvc.yaml depend on

A stage runs its own module, the method of the recipe's task that it asks, the recipe's model, and all that these import
(base/imports.py). So a new task or model makes no recipe stale, and an edit of the decoder those of decoders only.
"""

from functools import cache
from pathlib import Path
from typing import Any

from base.errors import exit_with
from base.files import write_json
from base.imports import closure, digest
from base.yaml_files import read_yaml
from pipelines.recipe import kinds

FILE = Path("artifacts/code.json")
ASKS = {
    "prepare": ("prepare",),
    "train": ("learner",),
    "evaluate": ("measure",),
    "export": ("exportable", "signature", "card"),
}
"""Stage → the methods of a task that it calls."""
ELSEWHERE = frozenset({"problems"})
"""Methods of a task that decide no output."""
STAGES = {
    "fetch": ("data.fetch.sources",),
    "base": ("pipelines.training.first",),
    "released": ("pipelines.training.first",),
    "reranker": ("pipelines.training.used",),
    "chat": ("pipelines.training.used",),
    "prepare": (),
    "train": ("pipelines.training.stage", "pipelines.training.imported", "pipelines.line.plots"),
    "evaluate": ("pipelines.evaluation", "pipelines.line.plots"),
    "export": ("pipelines.exporting.stage",),
    "release": ("pipelines.release.stage",),
}
"""Stage → its own modules."""
PLUMBING = (
    "base.children", "base.commit", "base.endpoints", "base.errors", "base.files", "base.imports", "base.progress",
    "base.terminal", "base.yaml_files",
    "pipelines.paths", "pipelines.tasks.interface", "pipelines.recipe.code", "pipelines.recipe.consistency",
    "pipelines.recipe.export_section", "pipelines.recipe.kinds", "pipelines.recipe.load", "pipelines.recipe.schema",
    "pipelines.recipe.sections",
)  # fmt: skip
"""Modules that decide where and how safely something is written or shown, not what; and the recipe's schema, whose
values DVC compares by themselves (a task's `config.py` is such a schema too)."""


@cache
def files(stage: str, task: str, model: str, root: Path = Path(".")) -> frozenset[Path]:
    """The source files that a stage runs for these kinds of task and model, relative to `root`. Raises MetrolineError:
    no such kind."""
    entries, passed_over = [*STAGES[stage]], dict[str, frozenset[str]]()
    if methods := ASKS.get(stage):
        module = kinds.module_of(kinds.TASKS, task)
        entries.append(module)
        others = {name for names in ASKS.values() for name in names}.union(ELSEWHERE) - set(methods)
        # of every task: one may be made of another
        made_of = (kinds.module_of(kinds.TASKS, each) for each in kinds.names(kinds.TASKS))
        passed_over = dict.fromkeys((*made_of, *kinds.shared_tasks()), frozenset(others))
        if stage == "export":
            entries.append(f"pipelines.exporting.{kinds.task(task).engine}")
        if stage != "prepare":
            entries += kinds.module_of(kinds.MODELS, model), kinds.network_of(model)
    schema = kinds.module_of(kinds.TASKS, task).rpartition(".")[0] + ".config"
    return frozenset(closure(*entries, root=root, without=(*PLUMBING, schema), passed_over=passed_over))


def all_files(task: str, model: str, root: Path = Path(".")) -> frozenset[Path]:
    """The same for all stages together."""
    return frozenset[Path]().union(*(files(stage, task, model, root) for stage in STAGES))


def hashes(root: Path = Path(".")) -> dict[str, dict[str, str]]:
    """{stage: {recipe: hash}} for every recipe below `root` that names kinds which can be imported."""
    found: dict[str, dict[str, str]] = {stage: {} for stage in STAGES}
    for path in sorted((root / "pipelines/recipes").glob("*.yaml")):
        try:
            task, model = _kinds(read_yaml(path))
            for stage in STAGES:
                found[stage][path.stem] = digest(files(stage, task, model, root), root)
        except Exception:  # a broken task raises anything, and is no business of the other recipes
            continue  # whoever runs it is told what is wrong with it
    return found


def _kinds(values: Any) -> tuple[str, str]:
    sections = values if isinstance(values, dict) else {}

    def kind(section: str, default: str) -> str:
        value = sections.get(section)
        return str(value.get("kind", default)) if isinstance(value, dict) else default

    return kind("task", kinds.TASK), kind("model", kinds.MODEL)


def main() -> int:
    """Write `FILE`. Returns the exit status."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    write_json(FILE, hashes())
    return 0


if __name__ == "__main__":
    exit_with(main)
