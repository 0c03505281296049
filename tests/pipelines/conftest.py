"""Lines that several test files start from; they copy what they change."""

from pathlib import Path

import pytest
import scratch_project
import small_line

from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.paths import Paths


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Prepared data and a trained checkpoint."""
    paths = Paths("mini", tmp_path_factory.mktemp("trained"))
    small_line.prepare(paths.prepared)
    small_line.checkpoint(paths)
    return paths


@pytest.fixture(scope="session")
def evaluated(trained: Paths, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The same, evaluated."""
    paths = small_line.copy(trained, tmp_path_factory.mktemp("evaluated") / "line")
    evaluate(small_line.recipe(), paths)
    return paths


@pytest.fixture(scope="session")
def exported(evaluated: Paths, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The same, with a bundle."""
    paths = small_line.copy(evaluated, tmp_path_factory.mktemp("exported") / "line")
    export(small_line.recipe(), paths)
    return paths


@pytest.fixture
def store_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model store that BENTOML_HOME names."""
    home = tmp_path / "bentoml"
    monkeypatch.setenv("BENTOML_HOME", str(home))
    return home


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch project, as the working folder."""
    made = scratch_project.make_project(tmp_path / "project")
    monkeypatch.chdir(made)
    return made
