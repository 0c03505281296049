"""`metroline trace`: where a release came from, or which release answered a request and where that came from.

metroline trace digits
metroline trace req-5f0c... --from feedback/ --json
"""

import json
import os
import time
from pathlib import Path

from base.errors import MetrolineError
from pipelines.commands.collect import folder_of
from pipelines.release.lineage import lineage, request, tag_of, text, unknown
from pipelines.release.store import Store


def show(what: str, folder: Path | None, root: Path, *, as_json: bool) -> None:
    """Print it. Raises MetrolineError: nothing of that name, a release that is gone or damaged."""
    store = Store.of(root)
    tag, asked = tag_of(what, store), None
    if tag is None:
        kept = folder_of(folder) if folder or os.environ.get("METROLINE_FEEDBACK") else None
        asked = request(what, kept) if kept else None
        if asked is None:
            raise unknown(what, store, kept)
        tag = f"{asked['model']}:{asked['version']}"
        if not store.folder(tag).is_dir():
            raise MetrolineError(f"{what} was answered by {tag}, which is no longer in the store {store.home}")
    found = lineage(tag, store)
    if as_json:
        print(json.dumps({**({"request": asked} if asked else {}), **found}, indent=2, sort_keys=True))
        return
    if asked:
        at = asked["time"]  # None: the operator's redaction took it out
        when = "time unknown" if at is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
        print(f"request   {what}, {when}, {len(asked['feedback'])} times judged")
    print(text(found))
