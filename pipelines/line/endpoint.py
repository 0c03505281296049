"""The endpoint as another process: how it is started, whether it answers.

`serving` is not imported (the two folders are independent of each other): it is a command and an HTTP address.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from base.children import python
from base.endpoints import authorization
from base.errors import MetrolineError
from base.served import Served as Started
from pipelines.recipe.load import unknown_recipe

LOG = Path(".metroline/endpoint.log")


def command(
    recipes: Sequence[str], bundles: Sequence[Path], host: str, port: int, workers: int, root: Path
) -> list[str]:
    """The command line that serves live releases of recipes, or folders. Raises MetrolineError unless it is one."""
    if bool(recipes) == bool(bundles):
        raise MetrolineError("name either a recipe or --bundle FOLDER", hint="metroline serve speeches")
    from pipelines.recipe.load import names

    for recipe in recipes:
        if recipe not in names(root):
            raise unknown_recipe(recipe, root)
    what = [*map(str, bundles), *(word for recipe in recipes for word in ("--model", recipe))]
    return python("serving.app.run", *what, "--host", host, "--port", str(port), "--workers", str(workers))


class Served(Started):
    """An endpoint that this process starts for a recipe's live release, and ends when the `with` block ends."""

    def __init__(self, recipe: str, root: Path, port: int) -> None:
        words = command([recipe], [], "127.0.0.1", port, 1, root)
        super().__init__(words, f"http://127.0.0.1:{port}", root / LOG, recipe)


def served(url: str) -> dict[str, Any] | None:
    """What `/v1/models` says about the model there; None where nothing (or something else) answers."""
    with suppress(httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
        model = httpx.get(f"{url}/v1/models", headers=authorization(url), timeout=2, trust_env=False).json()["data"][0]
        return dict(model)
    return None
