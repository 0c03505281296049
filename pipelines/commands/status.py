"""`metroline status`: which stages are stale, which release is live, what the endpoint serves. It changes nothing."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from base.errors import MetrolineError
from pipelines.line import dvc as line
from pipelines.line.endpoint import served
from pipelines.line.stages import STAGES
from pipelines.recipe.load import names, unknown_recipe
from pipelines.release.store import Store

WIDTH = 100
"""Columns the table may have on a narrower terminal, which wraps it; cut words and hashes help nobody."""


def show(recipe: str | None, url: str, root: Path, console: Console) -> None:
    """Print the table for one recipe (with reasons) or all. Raises MetrolineError for an unknown recipe."""
    known = names(root)
    if recipe is not None and recipe not in known:
        raise unknown_recipe(recipe, root)
    listed = set(line.listed_recipes())
    rows: list[tuple[str, dict[str, line.Entry], list[str]]] = []
    problems, details = [], []
    for name in [recipe] if recipe else known:
        if recipe is None and name not in listed:
            problems.append(f"{name}: not in params.yaml, so DVC makes no stages for it")
            continue
        try:
            found = {entry.stage: entry for entry in line.entries(name) if entry.recipe == name}
            pointers = Store.of(root).pointers(name)
        except MetrolineError as error:
            if recipe:
                raise
            problems.append(str(error))
            continue
        if pointers.candidate and pointers.plan:
            problems.append(f"{pointers.candidate} is tried beside the live release ({pointers.plan['mode']})")
        versions = [tag.partition(":")[2] if tag else "-" for tag in (pointers.live, pointers.previous)]
        rows.append((name, found, versions))
        details += [f"{entry.stage}: {', '.join(entry.reasons)}" for entry in found.values() if not entry.fresh]
    stages = [stage for stage in STAGES if any(stage in found for _, found, _ in rows)]  # few recipes have all
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")  # as narrow as it gets: 80 columns hold most
    for column in ("recipe", *stages, "live", "previous"):
        table.add_column(column, no_wrap=True)
    for name, found, versions in rows:
        cells = [
            "[dim]-[/]" if stage not in found else "[green]fresh[/]" if found[stage].fresh else "[yellow]stale[/]"
            for stage in stages
        ]
        table.add_row(name, *cells, *versions)
    console.width = max(console.width, WIDTH)
    console.print(table)
    for text in (details if recipe else []) + problems:
        console.print(f"  [dim]{escape(text)}[/]", highlight=False, soft_wrap=True)
    model = served(url)
    says = f"serves {model.get('id')} {model.get('version', '')}".rstrip() if model else "does not answer"
    console.print(f"endpoint {url} {escape(says)}", highlight=False, soft_wrap=True)
