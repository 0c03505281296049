"""Stage `release`: judge the bundle by its gates, put it into the model store, and make it live.

    metroline stage release speeches

It measures nothing: gates look at what `evaluate` and `export` wrote into the bundle. It starts no server, and asks
none: `pipelines.release.live` does.
"""

from typing import TYPE_CHECKING

from base import manifest
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
    of all), an adapter without its base or a base without its live adapters, a key that cannot be read, a store that
    cannot be written; then nothing is released.
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
