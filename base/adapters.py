"""What the bundle of an adapter alone says of its base: whose numbers it changes, by hash.

adapter.json has `base` (a recipe), `base_sha256` (of the weights that it was trained on) and `layout` (file → SHA-256:
how these were exported, where the adapter's numbers belong).
"""

from collections.abc import Mapping
from typing import Any, Literal

FILE = "adapter.json"
"""What makes a bundle one of an adapter."""
WEIGHTS = "model.safetensors"


def mismatch(said: Mapping[str, Any], files: Mapping[str, str]) -> Literal["weights", "export"] | None:
    """What an adapter was not made for: other weights than those of the bundle with these files and hashes (its
    manifest's), or another export of the same ones; None: it was made for both. `said`: the contents of adapter.json.
    """
    if files.get(WEIGHTS) != said.get("base_sha256"):
        return "weights"
    if any(files.get(name) != sha256 for name, sha256 in said.get("layout", {}).items()):
        return "export"
    return None
