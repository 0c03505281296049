"""Who stands for a release: its manifest signed by a key of minisign, which an endpoint may demand (METROLINE_TRUST).

    METROLINE_SIGN_KEY=team.key metroline run speeches       # signed as it is released
    metroline sign speeches --key team.key                   # the live release

The manifest has the hash of every file of the bundle, so its signature covers them all. The signature lies beside it in
the store and goes where the release goes; it is no part of the bundle, whose version stays the same.
"""

import os
import time
from pathlib import Path
from typing import Any

from base import manifest, minisign
from base.errors import MetrolineError
from pipelines.release.store import Store

KEY = "METROLINE_SIGN_KEY"
"""Variable with the path of the secret key."""


def key_of(given: Path | None = None) -> minisign.Secret | None:
    """The key of the option, else of METROLINE_SIGN_KEY; None: neither names one. Raises MetrolineError."""
    named = given or (Path(said).expanduser() if (said := os.environ.get(KEY)) else None)
    return minisign.secret(named) if named else None


def sign(tag: str, store: Store, key: minisign.Secret) -> None:
    """Sign a release, whose files are known to be whole; what this key has signed stays as it is."""
    path = store.folder(tag) / manifest.NAME
    said = minisign.read(path)
    if said is not None and said[0] == key.number and said[2].startswith(f"{tag} "):
        return
    minisign.sign(path, key, f"{tag} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}")


def sign_live(name: str, store: Store, key: minisign.Secret) -> str:
    """Sign the live release; returns its tag. Raises MetrolineError: nothing is live, a file is not as exported."""
    with store.locked():
        if (live := store.pointers(name).live) is None:
            raise MetrolineError(f"no release of {name} is live", hint=f"metroline run {name}")
        store.check(live)
        sign(live, store, key)
    return live


def signer(folder: Path) -> dict[str, Any] | None:
    """What a release's signature says, unchecked: {key, comment}; None: it has none. Raises MetrolineError."""
    found = minisign.read(folder / manifest.NAME)
    return None if found is None else {"key": minisign.Public(found[0], b"").name, "comment": found[2]}
