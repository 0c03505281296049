"""A real Bento: its code, its pinned requirements without torch, its containerfile; and that it serves."""

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from base.errors import MetrolineError
from base.imports import OURS, closure
from pipelines.paths import Paths
from pipelines.release import bento
from pipelines.release.bento import Built, build_bento
from pipelines.release.stage import release
from pipelines.release.store import Store
from tests.pipelines import small_line

CODE = Path(bento.__file__).parents[2]


@pytest.fixture(scope="module")
def built(exported: Paths, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A Bento of a really exported bundle."""
    root = tmp_path_factory.mktemp("bento")
    paths = small_line.copy(exported, root / "line")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(root / "bentoml"))
        release(small_line.recipe(), paths)
        return build_bento("mini", paths.root)


def test_code_and_model_are_in_it(built: Built, exported: Paths) -> None:
    source = built.folder / "src"
    assert (source / "serving/app/service.py").read_bytes() == (CODE / "serving/app/service.py").read_bytes()
    assert (source / "serving/web/index.html").is_file()
    assert (source / "bundle/model.int8.onnx").read_bytes() == (exported.bundle / "model.int8.onnx").read_bytes()
    assert (source / "bundle/manifest.json").is_file()
    assert {path.name for path in source.iterdir() if path.is_dir()} == {"base", "serving", "data", "bundle"}
    assert not (source / "data/fetch/sources.py").exists()
    assert built.tag == f"mini:{built.folder.name}"


def test_requirements_are_pinned_whole_and_without_torch(built: Built) -> None:
    lines = (built.folder / "env/python/requirements.txt").read_text().split()
    pins = dict(line.split("==") for line in lines)
    assert all(metadata.version(name) == version for name, version in pins.items())
    assert {"bentoml", "onnxruntime", "tokenizers", "numpy", "fastapi", "prometheus-client", "starlette"} <= pins.keys()
    assert not {"torch", "triton", "prefect", "dvc", "onnx", "pytest", "metroline"} & pins.keys()
    for name in pins:  # whatever one of them needs is there too
        for text in metadata.requires(name) or []:
            needed = bento.Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert bento.canonicalize_name(needed.name) in pins


def test_the_containerfile_is_written(built: Built) -> None:
    text = built.containerfile.read_text()
    assert "FROM python:" in text
    assert "COPY" in text
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in text


def test_its_entry_imports_its_own_code_and_no_torch(built: Built) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import endpoint, serving, base.errors, json, os;"
        "loaded = {name.split('.')[0] for name in sys.modules};"
        "print(serving.__file__, base.errors.__file__, *json.loads(os.environ['METROLINE_BUNDLES']), sep='\\n');"
        "sys.exit(bool(loaded & {'torch', 'prefect', 'dvc', 'pipelines', 'models', 'kernels'}))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METROLINE_")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(built.folder / "src")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(built.folder / "src")) for line in done.stdout.split())


def test_it_serves_from_any_folder(built: Built, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METROLINE_")}
    environment |= {"BENTOML_HOME": str(built.folder.parents[2]), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "serve", built.tag, "--host", "127.0.0.1", "--port", str(port)]
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
            answer, give_up = None, time.monotonic() + 60
            while answer is None and time.monotonic() < give_up:
                try:
                    request = {"model": "mini", "prompt": "the congress", "max_tokens": 5, "temperature": 0}
                    answer = client.post("/v1/completions", json=request).raise_for_status().json()
                except httpx.HTTPError:
                    time.sleep(0.2)
            assert answer is not None, (tmp_path / "log").read_text()
            assert answer["usage"]["completion_tokens"] == 5
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


def test_building_it_again_finds_it(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(built.folder.parents[2]))
    monkeypatch.setattr(bento, "_build", lambda *_: pytest.fail("built again"))
    assert build_bento("mini", built.containerfile.parents[1]) == built


def test_a_containerfile_that_was_removed_is_written_again(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(built.folder.parents[2]))
    made = (built.folder / "bento.yaml").stat().st_mtime_ns
    again = build_bento("mini", tmp_path)
    assert again.containerfile == tmp_path / "dist/mini.containerfile"
    assert again.containerfile.read_text() == built.containerfile.read_text()
    assert (built.folder / "bento.yaml").stat().st_mtime_ns == made


def test_every_module_that_serving_imports_is_found() -> None:
    files = [CODE / file for file in closure("serving.app.service", root=CODE)]
    names = {".".join(file.relative_to(CODE).with_suffix("").parts) for file in files}
    assert {
        "serving.app.service",
        "serving.engines.decode.engine",
        "base.errors",
        "data.text.tokenizer",
        "data.__init__",
    } <= names
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
                assert node.module in names or f"{node.module}.__init__" in names


def test_an_import_of_torch_is_refused() -> None:
    with pytest.raises(MetrolineError, match="the endpoint would need torch"):
        bento.pinned(["torch"])


def test_an_import_that_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("import no_such_package_here")
    with pytest.raises(MetrolineError, match="serving imports no_such_package_here, not installed here"):
        bento.third_party([tmp_path / "module.py"])


def test_nothing_released(store_home: Path) -> None:
    with pytest.raises(MetrolineError, match=r"nothing of mini is released \(metroline run mini\)"):
        build_bento("mini")


@pytest.fixture
def home(built: Built, store_home: Path) -> Path:
    """A store with the release, but no Bento of it."""
    for part in ("models", "metroline"):
        shutil.copytree(built.folder.parents[2] / part, store_home / part)
    return store_home


def test_a_damaged_release(built: Built, home: Path, tmp_path: Path) -> None:
    (Store(home).folder(built.tag) / "serving.json").write_text(json.dumps({}))
    with pytest.raises(MetrolineError, match=r"serving\.json is not the file that was exported"):
        build_bento("mini", tmp_path)


def test_bentomls_own_reason_is_given(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bento, "ENTRY", "raise ValueError('no service in here')")
    with pytest.raises(MetrolineError, match=r"bentoml build of mini:\w+ failed: .*no service in here"):
        build_bento("mini", tmp_path)
