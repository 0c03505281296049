"""Two copies of the project for the tests of this folder."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.line_copy import copy_project


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("line") / "metroline")


@pytest.fixture(scope="session")
def twin(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same once more."""
    return shutil.copytree(clone, tmp_path_factory.mktemp("twin") / "metroline")
