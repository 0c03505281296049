"""Which store holds an index, the only place that names one."""

from pathlib import Path

from data.index.lance import LanceStore
from data.index.store import Store, StoreConfig


def opened(folder: Path, config: StoreConfig, *, width: int | None = None) -> Store:
    """The store in a folder; a new one where `width`, the size of vectors, is given. Raises MetrolineError: not there,
    damaged, or the library is not installed."""
    return LanceStore(folder, config, width=width)
