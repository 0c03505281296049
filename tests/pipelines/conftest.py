"""Lines that several test files start from; they copy what they change."""

import shutil
from pathlib import Path

import pytest

from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.line import prefect_processes as servers
from pipelines.paths import Paths
from tests.pipelines import small_line
from tests.pipelines.line import scratch_project


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PREFECT_HOME of a server that has been up once: its database is made, which takes longer than all else.

    To be copied before a server starts. Servers that make their own database: those of tests/e2e.
    """
    root = tmp_path_factory.mktemp("prefect")
    with scratch_project.prefect_server(root):
        pass
    home = root / servers.LOGS
    (home / "server.log").unlink()
    return home


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


@pytest.fixture
def project_with_prefect(project: Path, prefect_home: Path) -> Path:
    """The same, where a Prefect server has been up before."""
    shutil.copytree(prefect_home, project / servers.LOGS)
    return project
