"""`metroline scale`: prepare what is stale, train the recipe at several sizes and lengths, and say how its loss falls.

metroline scale speeches --set "model.width=choice(48, 96, 144, 192)" --set "train.steps=choice(60, 120, 240)"
"""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from base.errors import MetrolineError
from base.files import writing
from base.writable import check_writable
from pipelines.commands.tune import refresh
from pipelines.paths import Paths
from pipelines.recipe.load import load
from pipelines.training.imported import only_imports
from pipelines.tuning import space
from pipelines.tuning.scaling.sweep import Found, sweep

MEANING = {
    "e": "loss that neither size nor data removes",
    "a": "A, of A / N^alpha",
    "b": "B, of B / D^beta",
    "alpha": "how the loss falls with parameters",
    "beta": "how it falls with targets",
}
TIMES = (1, 4, 16)
TRUSTED = 0.05
"""How far off the foretold loss may be for larger runs to be foretold at all."""


def scale(name: str, texts: list[str], root: Path, console: Console) -> None:
    """Sweep, and print the law. Raises MetrolineError: bad settings, and what a run raises."""
    if not texts:
        raise MetrolineError(
            "nothing varies", hint='as --set "train.steps=choice(100, 200, 400)", and the model\'s size'
        )
    recipe, settings = load(name, root), space.parse(texts)
    space.check(settings, name, space.read(name, root))
    if only_imports(recipe):
        raise MetrolineError(f"{name} only imports weights: there is no training to scale")
    paths = Paths(name, root)
    check_writable(root, (paths.artifacts,))
    refresh(name, console)
    with writing(paths.artifacts):
        found = sweep(name, root, settings, lambda text: console.print(escape(text), highlight=False, soft_wrap=True))
    console.print(_numbers(found))
    held = found.held
    said = f"the largest run, which was not fitted: {held.loss:.4f}, foretold {found.foretold:.4f} ({found.off:+.1%})"
    console.print(said, highlight=False)
    if abs(found.off) > TRUSTED:
        console.print(
            f"[yellow]a law that is off by more than {TRUSTED:.0%} foretells nothing: take more or longer runs[/]"
        )
    for times in TIMES if abs(found.off) <= TRUSTED else ():
        parameters, targets = found.law.best(times * held.flops)
        loss = found.law.loss(parameters, targets)
        what = f"the best of {times:>2} x its operations: {parameters:,.0f} parameters, {targets:,.0f} targets"
        console.print(f"{what}, loss {loss:.4f}", highlight=False)
    console.print(f"[dim]{found.folder.relative_to(root)}: scaling.png, table.csv, law.json[/]", soft_wrap=True)


def _numbers(found: Found) -> Table:
    table = Table("number", "value", "80 % interval", "", title="loss = E + A / N^alpha + B / D^beta, nats")
    for key, meaning in MEANING.items():
        low, high = found.intervals[key]
        table.add_row(key, f"{getattr(found.law, key):.4g}", f"{low:.4g} to {high:.4g}", meaning)
    return table
