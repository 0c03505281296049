"""What holds for every test: no clock for an example of hypothesis, and no proxy before this machine's own servers.

And what tests compare with, `transformers` and real weights: where it is missing they are skipped, but on CI they fail.
"""

import importlib
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import settings

from base import network
from data.text.weights import find

if TYPE_CHECKING:
    from pipelines.paths import Paths

network.mend(os.environ)
settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")

ROOT = Path(__file__).parents[1]


def missing(reason: str) -> NoReturn:
    """Skip the test; on CI (CI=true), where nothing may be missing, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def transformers() -> ModuleType:
    """The package."""
    try:
        return importlib.import_module("transformers")
    except ImportError:
        return missing("compares with transformers: make peers")


@pytest.fixture
def smollm2() -> Path:
    """The real weights of the recipe smollm2."""
    folder = Path(os.environ.get("METROLINE_TEST_SMOLLM2", ROOT / "data/raw/smollm2/pretrained/files"))
    return find(folder) if folder.is_dir() else missing("needs the weights of the recipe smollm2: make peers")


@pytest.fixture
def minilm() -> Path:
    """The real weights of the recipe sst2-minilm."""
    folder = Path(os.environ.get("METROLINE_TEST_MINILM", ROOT / "data/raw/sst2-minilm/pretrained/files"))
    return find(folder) if folder.is_dir() else missing("needs the weights of the recipe sst2-minilm: make peers")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> "Paths":
    """A small index of four documents, from files to a bundle (tests/indexes.py). Not to be changed."""
    from tests import indexes

    return indexes.bundle(tmp_path_factory.mktemp("library"), asked=True)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> "Paths":
    """The same index with a reranker. Not to be changed."""
    from tests import indexes

    root = tmp_path_factory.mktemp("shelf")
    indexes.reranker(root)
    return indexes.bundle(root, "shelf", asked=True, task={"kind": "index", "reranker": "pairs"})


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Inside it no file gets longer than so many bytes: real writes of any library fail as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
