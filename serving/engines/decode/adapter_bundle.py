"""A bundle with an adapter alone: served beside others over one base, which is named by the hash of its weights.

adapter.json          the base, the SHA-256 of its weights, and of how it was exported
adapter.int8.npy      the numbers for the base's graph of that precision, as the bits of bfloat16
adapter/              the same as PEFT's files, which others read
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from base.adapters import FILE, mismatch
from base.errors import MetrolineError
from base.files import read_object
from base.manifest import REBUILD
from serving.bundle import Bundle, demand
from serving.engines.decode.bundle import DecoderBundle

LAYOUT = "adapters.json", "adapters.safetensors"
"""A base's files that say where the numbers of adapters belong."""
INFINITE = 0x7F80
"""The exponent of a bfloat16 that is no number, or infinite."""


@dataclass(frozen=True)
class AdapterBundle(Bundle):
    """A verified adapter."""

    base: str
    """Its name."""
    base_sha256: str
    """Of the base's model.safetensors."""
    layout: Mapping[str, str]
    """The SHA-256 of the base's files LAYOUT that the numbers were made for."""

    @classmethod
    def graphs(cls, precision: str) -> tuple[str, ...]:
        """It has none; the numbers for a precision are asked for once the base has settled on one."""
        return (FILE,)

    @classmethod
    def facts(
        cls, path: Path, listed: frozenset[str], manifest: Mapping[str, Any], serving: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See Bundle."""
        said = read_object(path / FILE, hint=REBUILD)
        return {"base": str(said["base"]), "base_sha256": str(said["base_sha256"]),
                "layout": {name: str(said["layout"][name]) for name in LAYOUT}}  # fmt: skip

    def problem(self, base: DecoderBundle) -> str | None:
        """Why it cannot be served over `base`; None: it can."""
        differs = mismatch({"base_sha256": self.base_sha256, "layout": self.layout}, base.manifest["files"])
        if self.base != base.name:
            return f"it is an adapter of {self.base}, not of {base.name}"
        if differs == "weights":
            return f"it is an adapter of other weights ({self.base_sha256[:12]}…) than those of {base.name} now"
        if not base.adapters:
            return f"{base.name} was exported without room for adapters"
        if differs == "export":
            return f"{base.name} was exported again since; metroline stage export {self.name} makes it anew"
        return None

    def weights(self, precision: str) -> np.ndarray:
        """Its numbers for the base's graph of that precision, uint16 [size].

        Raises MetrolineError: none for it, or some that are not finite.
        """
        name = f"adapter.{precision}.npy"
        demand(self.path, self.files, name)
        try:
            found = np.load(self.path / name, allow_pickle=False)
        except ValueError as error:
            raise MetrolineError(f"{self.path / name}: {error}", hint=REBUILD) from None
        if found.dtype != np.uint16 or found.ndim != 1:
            raise MetrolineError(f"{self.path / name}: {found.dtype} {found.shape} are no weights", hint=REBUILD)
        if ((found & INFINITE) == INFINITE).any():
            raise MetrolineError(f"{self.path / name}: weights that are not finite", hint="train it again")
        return found
