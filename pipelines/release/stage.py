"""Stage `release`: judge the bundle by its gates, put it into the model store, and make it live.

    metroline stage release speeches
    metroline rollback speeches

It measures nothing: gates look at what `evaluate` and `export` wrote into the bundle. It starts no server; `deploy`
asks one that runs already.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from base import manifest
from base.errors import MetrolineError
from base.files import write_json
from pipelines.paths import Paths
from pipelines.recipe import gates
from pipelines.release.smoke import smoke
from pipelines.release.store import Pointers, Store

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def release(recipe: "Recipe", paths: Paths) -> None:
    """Release `paths.bundle` when it is whole and passes every gate; write `paths.release`.

    Releasing what is live already changes nothing. Raises MetrolineError: a damaged bundle, a failed gate (with a table
    of all), a store that cannot be written; then nothing is released.
    """
    bundle = manifest.verify(paths.bundle)
    if bundle["name"] != recipe.name:
        raise MetrolineError(f"{paths.bundle} is a bundle of {bundle['name']}, not of {recipe.name}")
    every = tuple(dict.fromkeys((gates.floor(bundle["metrics"]), *recipe.gates)))
    results = gates.require(every, gates.measured(bundle["metrics"], bundle["parity"]))
    tag = f"{recipe.name}:{bundle['version']}"
    store = Store.of(paths.root)
    with store.locked():
        store.put(paths.bundle, tag, labels={"data_hash": bundle["data_hash"][:12]})
        before = store.pointers(recipe.name)
        if before.live != tag:
            store.point(recipe.name, Pointers(live=tag, previous=before.live))
        store.prune(recipe.name, recipe.release.keep)
    write_json(
        paths.release,
        {
            "tag": tag,
            "version": bundle["version"],
            "data_hash": bundle["data_hash"],
            "gates": {str(result.gate): result.value for result in results},
        },
    )


def rollback(name: str, root: Path = Path(".")) -> str:
    """Swap `live` and `previous` of a recipe. Returns the tag that is live now.

    Raises MetrolineError: nothing released, no previous release, or one that is no longer whole.
    """
    store = Store.of(root)
    with store.locked():
        pointers = store.pointers(name)
        if pointers.live is None:
            raise MetrolineError(f"nothing of {name} is released", hint=f"metroline run {name}")
        if pointers.previous is None:
            raise MetrolineError(f"{name} has no previous release to go back to: {pointers.live} is the only one")
        store.check(pointers.previous)
        store.point(name, Pointers(live=pointers.previous, previous=pointers.live))
        return pointers.previous


def deploy(
    name: str,
    base_url: str,
    *,
    root: Path = Path("."),
    reload: Callable[[], None] | None = None,
    timeout: float = 60.0,
) -> str:
    """Wait until the endpoint at `base_url` serves the live release and answers a request; else roll back.

    Args:
        name: the recipe.
        base_url: such as http://127.0.0.1:3000.
        root: the project's folder.
        reload: makes the endpoint take the live release; called again after a rollback. A MetrolineError of it means:
            not serving. None: the endpoint does so by itself.
        timeout: seconds that the endpoint has to get there.

    Returns: the tag that is live and answers. Raises MetrolineError when the smoke request failed, saying why and what
    is live now.
    """
    live = Store.of(root).pointers(name).live
    if live is None:
        raise MetrolineError(f"nothing of {name} is released", hint=f"metroline run {name}")
    try:
        if reload is not None:
            reload()
        smoke(base_url, live, timeout, Store.of(root).folder(live))
        return live
    except MetrolineError as problem:
        failure = problem
    pointers = Store.of(root).pointers(name)
    if pointers.live != live or pointers.previous is None:
        why = "there is no previous release to go back to" if pointers.live == live else f"{pointers.live} is live now"
        raise MetrolineError(f"{live} does not serve: {failure}; {why}")
    back = rollback(name, root)
    try:
        if reload is not None:
            reload()
        smoke(base_url, back, timeout, Store.of(root).folder(back))
    except MetrolineError as problem:
        raise MetrolineError(
            f"{live} does not serve: {failure}; {back} is live again, but does not serve either: {problem}"
        ) from None
    raise MetrolineError(f"{live} does not serve: {failure}; rolled back, {back} is live again")
