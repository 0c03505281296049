"""Which release is live: a candidate, the one before it again, or one that a running endpoint has shown to serve.

metroline promote speeches
metroline rollback speeches
"""

from collections.abc import Callable
from pathlib import Path

from base.errors import MetrolineError
from pipelines.release import adapters
from pipelines.release.smoke import smoke
from pipelines.release.store import Pointers, Store


def promote(name: str, root: Path = Path("."), plan: str | None = None) -> str:
    """Make the candidate of a recipe live, and live the previous one. Returns the tag that is live now.

    `plan`: only a candidate of this plan. Raises MetrolineError: no candidate, one that is no longer whole, or that
    live adapters do not go with.
    """
    store = Store.of(root)
    with store.locked():
        pointers = _tried(name, store, plan)
        assert pointers.candidate
        found = store.check(pointers.candidate)
        adapters.check(store, name, store.folder(pointers.candidate), found)
        store.point(name, Pointers(live=pointers.candidate, previous=pointers.live))
        return pointers.candidate


def drop(name: str, root: Path = Path("."), plan: str | None = None) -> str:
    """Try the candidate of a recipe no longer. Returns its tag. Raises MetrolineError: there is none, see `promote`."""
    store = Store.of(root)
    with store.locked():
        pointers = _tried(name, store, plan)
        store.point(name, Pointers(live=pointers.live, previous=pointers.previous))
        return str(pointers.candidate)


def _tried(name: str, store: Store, plan: str | None) -> Pointers:
    pointers = store.pointers(name)
    if pointers.candidate is None or (plan is not None and (pointers.plan or {}).get("id") != plan):
        hint = f"metroline run {name} --deploy canary makes one of the next release"
        raise MetrolineError(f"{name} has no candidate", hint=hint)
    return pointers


def rollback(name: str, root: Path = Path(".")) -> str:
    """Swap `live` and `previous` of a recipe. Returns the tag that is live now.

    Raises MetrolineError: nothing released, no previous release, one that is no longer whole, or that live adapters do
    not go with.
    """
    store = Store.of(root)
    with store.locked():
        pointers = store.pointers(name)
        if pointers.live is None:
            raise MetrolineError(f"nothing of {name} is released", hint=f"metroline run {name}")
        if pointers.previous is None:
            raise MetrolineError(f"{name} has no previous release to go back to: {pointers.live} is the only one")
        before = store.check(pointers.previous)
        adapters.check(store, name, store.folder(pointers.previous), before)
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
