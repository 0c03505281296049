"""Stage `release`: judge the bundle by its gates, put it into the model store, and make it live.

    metroline stage release speeches

With `release.deploy: shadow` or `canary` (or METROLINE_DEPLOY) it becomes a candidate beside the live one instead.
It measures nothing: gates look at what `evaluate` and `export` wrote into the bundle. It starts no server, and asks
none: `pipelines.release.live` does.
"""

import os
import secrets
import time
from typing import TYPE_CHECKING

from base import manifest
from base.delivery import DEPLOY, Plan
from base.errors import MetrolineError
from base.files import write_json
from pipelines.paths import Paths
from pipelines.recipe import gates
from pipelines.release import adapters, signing
from pipelines.release.store import Pointers, Store

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def release(recipe: "Recipe", paths: Paths) -> None:
    """Release `paths.bundle` when it is whole and passes every gate; write `paths.release`.

    Releasing what is live already changes nothing. Raises MetrolineError: a damaged bundle, a failed gate (with a table
    of all), an adapter that its base has no place for, a base that live adapters do not go with, a key that cannot be
    read, a store that cannot be written; then nothing is released.
    """
    bundle = manifest.verify(paths.bundle)
    if bundle["name"] != recipe.name:
        raise MetrolineError(f"{paths.bundle} is a bundle of {bundle['name']}, not of {recipe.name}")
    every = tuple(dict.fromkeys((gates.floor(bundle["metrics"]), *recipe.gates)))
    results = gates.require(every, gates.measured(bundle["metrics"], bundle["parity"]))
    tag = f"{recipe.name}:{bundle['version']}"
    store, key = Store.of(paths.root), signing.key_of()
    with store.locked():
        adapters.check(store, recipe.name, paths.bundle, bundle)
        store.put(paths.bundle, tag, labels={"data_hash": bundle["data_hash"][:12]})
        if key is not None:
            signing.sign(tag, store, key)
        before = store.pointers(recipe.name)
        if before.live != tag:
            store.point(recipe.name, _pointers(recipe, tag, before, alone=adapters.base_of(paths.bundle) is None))
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


def _pointers(recipe: "Recipe", tag: str, before: Pointers, *, alone: bool) -> Pointers:
    """Live at once, or beside what is live: a candidate that is tried already goes on. Raises MetrolineError, also for
    an adapter, which is not `alone`, as a candidate."""
    config = recipe.release
    mode = os.environ.get(DEPLOY) or config.deploy
    if mode not in ("direct", "shadow", "canary"):
        raise MetrolineError(f"{DEPLOY}={mode!r} is no way to deploy", hint="direct, shadow or canary")
    if mode != "direct" and not alone:
        raise MetrolineError(f"{tag} is an adapter, which goes live at once", hint="release.deploy: direct")
    if mode == "direct" or before.live is None:
        return Pointers(live=tag, previous=before.live)
    if before.candidate == tag and before.plan and before.plan.get("mode") == mode:
        return before
    share = config.share or (0.2 if mode == "shadow" else 0.1)
    plan = Plan.of({
        "id": secrets.token_hex(6), "mode": mode, "share": share, "sticky": config.sticky, "began": time.time(),
        "requests": config.requests, "minutes": config.minutes, "differ": config.differ, "slower": config.slower,
    })  # fmt: skip
    return Pointers(before.live, before.previous, tag, plan.values())
