"""From a release in the store to an endpoint that answers with it: reload what runs, ask it, go back when it fails.

A candidate is tried first (pipelines/line/delivery.py). A release is deployed when a completion came from it: from the
endpoints of the recipe that run on this machine, or, where none runs, from one that is started for the question only.
`pipelines/release/live.py` holds the parts; this module finds the endpoints and remembers in
`artifacts/RECIPE/deployed.json` which release was tried, and how it went.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from base.endpoints import Endpoint, endpoints
from base.errors import MetrolineError
from base.files import read_json, write_json
from pipelines.line import delivery
from pipelines.line import dvc as line
from pipelines.paths import Paths
from pipelines.release.adapters import live_base
from pipelines.release.store import Store

PATIENCE = 60.0
"""Seconds that an endpoint has to serve a new release."""


def is_pending(recipe: str, root: Path = Path(".")) -> bool:
    """Whether the release that DVC's outputs name was never tried, or is no longer in the store."""
    tag = _released(recipe, root)
    if tag is None:
        return False
    store = Store.of(root)
    return (
        _last(recipe, root).get("tag") != tag or store.pointers(recipe).live is None or not store.folder(tag).is_dir()
    )


def check_last(recipe: str, root: Path = Path(".")) -> None:
    """Raise MetrolineError when the current release was tried and failed."""
    if problem := _last(recipe, root).get("problem"):
        raise MetrolineError(problem, hint=f"metroline run {recipe} --force release tries it again")


def deploy(recipe: str, watch: line.Watch, root: Path = Path(".")) -> str:
    """Put the current release live and ask for a completion; roll back when none comes. Returns the tag that is live.

    Raises MetrolineError: it does not serve; what is live now stands in the message.
    """
    from pipelines.line import delivery
    from pipelines.release import live

    store, tag = Store.of(root), _released(recipe, root)
    if tag is None:
        raise MetrolineError(f"nothing of {recipe} is released", hint=f"metroline run {recipe}")
    pointers = store.pointers(recipe)
    if tag not in (pointers.live, pointers.candidate) or not store.folder(tag).is_dir():
        # DVC took the output from its cache (an earlier state of the project); the store has to follow.
        watch(f"{tag} is not live yet: releasing it again")
        line.run_stage(f"release@{recipe}", watch, force=True)
    if store.pointers(recipe).candidate == tag:
        delivery.deliver(recipe, watch, root)
    running = endpoints(store.home, live_base(store, recipe))
    with _remembered(tag, running, Paths(recipe, root).deployed):
        for endpoint in running:
            watch(f"reloading {endpoint.url}")
            live.deploy(recipe, endpoint.url, root=root, reload=endpoint.reload, timeout=PATIENCE)
        if not running:
            _try_out(recipe, watch, root)
    watch(f"{tag} is live and answers")
    return tag


@contextmanager
def _remembered(tag: str, running: Sequence[Endpoint], record: Path) -> Iterator[None]:
    """Write down that a release was tried inside, and how it went."""
    try:
        yield
    except MetrolineError as error:
        write_json(record, {"tag": tag, "problem": str(error)})
        for endpoint in running:  # one of several may have the new release already
            endpoint.reload()
        raise
    write_json(record, {"tag": tag})


def _try_out(recipe: str, watch: line.Watch, root: Path) -> None:
    """Deploy on an endpoint that is started for this only."""
    from base.processes import free_port
    from pipelines.line.endpoint import Served
    from pipelines.release import live

    watch(f"no endpoint serves {recipe}: starting one for a smoke request")
    with Served(live_base(Store.of(root), recipe), root, free_port()) as served:
        live.deploy(recipe, served.url, root=root, reload=served.start, timeout=PATIENCE)


def roll_back(recipe: str, root: Path = Path(".")) -> str:
    """Drop the candidate, or where there is none swap live and previous; make running endpoints follow. Returns the tag
    that is live now."""
    from pipelines.release import live

    store = Store.of(root)
    running = endpoints(store.home, live_base(store, recipe))
    if (pointers := store.pointers(recipe)).candidate and pointers.live:
        dropped, tag = live.drop(recipe, root), pointers.live
        write_json(Paths(recipe, root).deployed, {"tag": dropped, "problem": f"{dropped} was rolled back by hand"})
    else:
        tag = live.rollback(recipe, root)
    delivery.follow(tag, running, store)
    return tag


def promote(recipe: str, root: Path = Path(".")) -> str:
    """Make the candidate live, on running endpoints too; back where one does not serve it. Returns the tag that is live
    now."""
    from pipelines.release import live

    store, tag = Store.of(root), live.promote(recipe, root)
    running = endpoints(store.home, recipe)
    with _remembered(tag, running, Paths(recipe, root).deployed):
        for endpoint in running:
            live.deploy(recipe, endpoint.url, root=root, reload=endpoint.reload, timeout=PATIENCE)
    return tag


def retire(adapter: str, root: Path = Path(".")) -> str:
    """Take an adapter out of its base's endpoints. Returns the tag that was live. Raises MetrolineError."""
    from pipelines.release import adapters

    store = Store.of(root)
    base = live_base(store, adapter)
    tag = adapters.retire(store, adapter)
    for endpoint in endpoints(store.home, base):
        endpoint.reload()
    return tag


def _released(recipe: str, root: Path) -> str | None:
    path = Paths(recipe, root).release
    return str(read_json(path)["tag"]) if path.is_file() else None


def _last(recipe: str, root: Path) -> dict[str, str]:
    path = Paths(recipe, root).deployed
    try:
        return dict(read_json(path)) if path.is_file() else {}
    except (ValueError, TypeError):
        return {}
