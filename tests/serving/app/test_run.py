"""Starting and ending the endpoint from a command: clear refusals, clean Ctrl-C, nothing left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest

import serving.app.run
from base.errors import MetrolineError
from base.processes import free_port
from serving.app.run import main, start
from tests.serving import tiny_bundle


@pytest.fixture
def command(bundle, tmp_path):
    """Starts `python -m serving.app.run` as a shell would, and ends what is left of it."""
    started: list[subprocess.Popen] = []

    def run() -> tuple[subprocess.Popen, str]:
        port = free_port("127.0.0.1", 0)
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.app.run", str(bundle), "--port", str(port)], cwd=serving.app.run.ROOT,
            env={**os.environ, "BENTOML_HOME": str(tmp_path), "METROLINE_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 40
        while True:
            try:
                if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                    return process, url
            except httpx.HTTPError:
                pass
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()


def family(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_cleanly(command, number):
    process, url = command()
    children = family(process)
    folder = Path(children[0].environ()["METROLINE_METRICS_FOLDER"])
    assert folder.is_dir()
    assert len(children) >= 2
    process.send_signal(number)
    assert process.wait(20) == 0
    said = process.stdout.read()
    assert "Traceback" not in said
    assert '"level": "error"' not in said, said
    assert not psutil.wait_procs(children, timeout=5)[1]
    assert not folder.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl, which only Linux has")
def test_killed_it_leaves_no_server_behind(command):
    process, _ = command()
    children = family(process)
    process.kill()
    assert not psutil.wait_procs(children, timeout=15)[1]


def test_a_port_in_use(bundle, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MetrolineError, match=f"cannot listen on 127.0.0.1:{port}.*--port"):
            start(bundle, port=port)
        assert main([str(bundle), "--port", str(port)]) == 1
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere"], "no bundle at /nowhere"),
        ([], "nothing to serve"),
        (["--model", "unheard-of"], "no release of unheard-of"),
        (["BUNDLE", "--model", "tiny"], "both bundles and models are given"),
        (["BUNDLE", "--host", "999.1.1.1"], "cannot listen on 999.1.1.1"),
        (["BUNDLE", "--host", ""], "no IP address"),
        (["BUNDLE", "--port", "70000"], "cannot listen on 127.0.0.1:70000"),
        (["BUNDLE", "--workers", "0"], "METROLINE_WORKERS='0'"),
    ],
)
def test_what_cannot_be_served(bundle, monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    assert main([str(bundle) if each == "BUNDLE" else each for each in arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_nowhere_to_put_temporary_files(bundle, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert main([str(bundle), "--port", "0"]) == 1
    error = capsys.readouterr().err
    assert "TMPDIR" in error
    assert error.count("\n") == 1


def test_a_server_where_python_strips_docstrings(serve, bundle):
    """BentoML's process manager cannot do without its own."""
    server = serve(bundle, PYTHONOPTIMIZE="2")
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200


def test_a_server_that_dies_is_reported_with_its_last_words(bundle, tmp_path):
    broken = {"BENTOML_CONFIG": "/dev/null/x"}
    server = start(bundle, port=0, log=tmp_path / "log", environment=broken, tied=True)
    with server, pytest.raises(MetrolineError, match="ended with exit code"):
        server.wait_ready(30)


def test_a_graph_that_cannot_be_run_is_reported_at_once(bundle, tmp_path):
    """As of a bundle that an older version exported: its hashes are right, its graph is not what the engine runs."""
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    (old / "model.int8.onnx").write_bytes(b"no graph")
    tiny_bundle.write_manifest(old, "tiny", json.loads((old / "manifest.json").read_text())["model"])
    with start(old, port=0, log=tmp_path / "log", environment={"BENTOML_HOME": str(tmp_path)}, tied=True) as server:
        with pytest.raises(MetrolineError, match=r"cannot load its model.*\n.*ONNX Runtime cannot load it"):
            server.wait_ready(60)
        answer = httpx.post(f"{server.url}/v1/completions", json={"prompt": "a"}, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_failed")


def test_settings_that_make_no_sense(bundle):
    with pytest.raises(MetrolineError, match="METROLINE_QUEUE"):
        start(bundle, port=0, environment={"METROLINE_QUEUE": "many"})
    with pytest.raises(MetrolineError, match="METROLINE_PRECISION"):
        start(bundle, port=0, environment={"METROLINE_PRECISION": "int3"})


def test_a_folder_of_any_name_is_served(bundle, tmp_path, serve):
    folder = shutil.copytree(bundle, tmp_path / "a:b ü #1")
    server = serve(folder)
    answer = httpx.post(f"{server.url}/v1/completions", json={"prompt": "x", "max_tokens": 2}, trust_env=False)
    assert answer.status_code == 200, answer.text
