"""`metroline tune`: prepare what is stale, search, and say what was found.

metroline tune digits --set "train.lr=loguniform(1e-4, 1e-1)" --trials 40 --minutes 30
"""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from base.errors import MetrolineError
from base.files import writing
from base.writable import check_writable
from pipelines.line import dvc as line
from pipelines.paths import Paths
from pipelines.recipe.load import load
from pipelines.training.imported import only_imports
from pipelines.tuning import space
from pipelines.tuning.report import table
from pipelines.tuning.search import Options, search, seconds

BEFORE = ("fetch", "base", "prepare")
"""The stages whose outputs every trial reads."""
FILES = ("table.csv", "parallel.png", "importance.png")
"""What a search says that it wrote, beside the recipe."""


def tune(name: str, texts: list[str], options: Options, root: Path, console: Console) -> None:
    """Search settings of a recipe and write the winner's. Raises MetrolineError: bad options, and what a run raises."""
    recipe, settings = load(name, root), space.parse(texts)
    space.check(settings, name, space.read(name, root))
    if only_imports(recipe):
        raise MetrolineError(f"{name} only imports weights: there is no training to tune")
    if options.trials < 1 or not 0 < options.minutes < float("inf"):
        raise MetrolineError("--trials and --minutes must be above 0")
    paths = Paths(name, root)
    check_writable(root, (paths.artifacts,))
    refresh(name, console)
    with writing(paths.artifacts):
        found = search(
            name, root, settings, options, lambda text: console.print(escape(text), highlight=False, soft_wrap=True)
        )
    console.print(table(found.study, found.metric))
    assert found.winner.value is not None
    own = "" if found.own is None else f"; the recipe as it is {found.own:.4g}"
    said = f"trial {found.winner.number}: valid {found.metric} {found.winner.value:.4g}, with a second seed "
    console.print(f"{said}{found.second:.4g}{own}", highlight=False)
    patch = (found.folder / f"{name}.patch").relative_to(root)
    files = [file for file in FILES if (found.folder / file).is_file()]  # too few trials have no importance.png
    where = f"{found.folder.relative_to(root)}: {', '.join([*files, f'{name}.yaml'])}"
    console.print(f"[dim]{seconds(found.study):.0f} s of trials; {escape(where)}[/]", soft_wrap=True)
    if patch.stat().st_size:
        console.print(f"take it:  git apply {patch} && metroline run {name}", soft_wrap=True, highlight=False)
    else:
        console.print("the recipe has the best settings already", highlight=False)


def refresh(name: str, console: Console) -> None:
    """Run the stages before `train` that are stale. Raises MetrolineError, as they do."""
    for entry in line.entries(name, waiting=lambda text: console.print(text, markup=False)):
        if not entry.fresh and (entry.stage in BEFORE if entry.recipe == name else entry.stage in (*BEFORE, "train")):
            console.print(f"{entry.named_in(name)} is stale, and runs first", highlight=False)
            line.run_stage(entry.address, lambda text: None)
