"""`metroline run`, `promote` and `rollback`: ask DVC first, and start Prefect only when something is stale.

It decides nothing about stages; that is DVC's (pipelines/line/dvc.py) and the flow's (pipelines/line/flow.py).
"""

import os
import time
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from base.errors import MetrolineError, nearest
from base.writable import check_writable
from pipelines.line import deployment
from pipelines.line import dvc as line
from pipelines.line.console import Reporter


def run(recipe: str, console: Console, force: list[str], how: str | None = None) -> None:
    """Bring a recipe's line up to date and its release live, and say what happened. Raises MetrolineError.

    `how` a new release is deployed: direct, shadow or canary; None: as the recipe says.
    """
    began = time.monotonic()
    check_writable(Path.cwd())
    found = line.entries(recipe, waiting=lambda text: console.print(text, markup=False))
    stages = [entry.named_in(recipe) for entry in found]
    for unknown in set(force) - set(stages):
        raise MetrolineError(f"no stage {unknown!r} in the line of {recipe}", hint=nearest(unknown, stages))
    stale = [name for name, entry in zip(stages, found, strict=True) if not entry.fresh or name in force]
    pending = deployment.is_pending(recipe)
    if not stale and not pending:
        deployment.check_last(recipe)
        console.print(f"[green]✓[/] {recipe}: nothing is stale [dim]({time.monotonic() - began:.1f} s)[/]")
        return
    # Prefect's own words go to its server; the terminal shows the stages.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from pipelines.line.prefect_processes import server_for_a_run

    console.print(f"{recipe}: {', '.join(stale) or 'deployment'} to do", highlight=False)
    waiting = console.status("starting Prefect") if console.is_terminal else nullcontext()
    with waiting:
        server = server_for_a_run(Path.cwd())
        url = server.__enter__()
    try:
        from pipelines.line.flow import run_here

        run_here(recipe, Reporter(console), force, url, how)
    finally:
        server.__exit__(None, None, None)
    console.print(f"[green]✓[/] {recipe}: done [dim]({time.monotonic() - began:.0f} s)[/]")


def promote(recipe: str, root: Path) -> None:
    """Make the candidate live, also on endpoints that run, and say so. Raises MetrolineError."""
    tag = deployment.promote(recipe, root)
    print(f"{tag} is live")


def roll_back(recipe: str, root: Path) -> None:
    """Drop the candidate, or make the previous release live, also on endpoints, and say so. Raises MetrolineError."""
    tag = deployment.roll_back(recipe, root)
    print(f"{tag} is live")
