"""nginx before two endpoints: the configuration, what it shows, and a rolling update under clients."""

import subprocess
from pathlib import Path

import httpx
import pytest

from base.errors import MetrolineError
from base.processes import free_port
from benchmarks._traffic import Traffic
from serving.app.proxy import Proxy, configuration, find, main
from serving.app.run import Server, start
from tests.conftest import missing
from tests.serving import forward_bundles

REPLICAS = ["127.0.0.1:3001", "127.0.0.1:3002"]


@pytest.fixture(scope="module")
def nginx() -> str:
    try:
        return find()
    except MetrolineError as error:
        missing(str(error))


def test_nginx_accepts_the_configuration(nginx: str, tmp_path: Path) -> None:
    for down in ([], REPLICAS[:1]):
        path = tmp_path / "nginx.conf"
        path.write_text(configuration("127.0.0.1:3999", REPLICAS, tmp_path, down=down))
        command = [nginx, "-t", "-p", str(tmp_path), "-c", str(path), "-e", str(tmp_path / "log")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert path.read_text().count(" down;") == len(down)


@pytest.mark.parametrize(
    ("replicas", "down", "message"),
    [
        ([], [], "no endpoint is left"),
        (REPLICAS, REPLICAS, "no endpoint is left to answer"),
        (["127.0.0.1"], [], "'127.0.0.1' is no host:port"),
        (["127.0.0.1:0"], [], "is no host:port"),
        (["127.0.0.1:http"], [], "is no host:port"),
        (["127.0.0.1:70000"], [], "is no host:port"),
        (["a; server b:3000"], [], "is no host:port"),
        (["http://127.0.0.1:3001/"], [], "is no host:port"),
    ],
)
def test_bad_replicas(tmp_path: Path, replicas: list[str], down: list[str], message: str) -> None:
    with pytest.raises(MetrolineError, match=message):
        configuration("127.0.0.1:3999", replicas, tmp_path, down=down)


def test_the_command_prints_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*REPLICAS, "--port", "8080", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out == configuration("127.0.0.1:8080", REPLICAS, tmp_path.resolve())
    with pytest.raises(MetrolineError, match="is no host:port"):
        main([*REPLICAS, "--port", "high"])


def test_without_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(MetrolineError, match=r"nginx is not installed \(apt-get install nginx\)"):
        Proxy(0, REPLICAS, tmp_path)


@pytest.mark.usefixtures("nginx")
def test_a_rolling_update_loses_nothing(tmp_path: Path) -> None:
    bundle = forward_bundles.table(tmp_path / "flower")
    body = {"inputs": [{"age": 30, "income": 2000, "city": "Bonn"}]}
    running: dict[str, Server] = {}
    seen: list[int] = []

    def restart(replica: str) -> None:
        if replica in running:
            running[replica].stop()
        port = int(replica.rpartition(":")[2])
        queue = {"METROLINE_QUEUE": "256"}
        running[replica] = start(bundle, port=port, log=tmp_path / f"{port}.log", environment=queue)
        running[replica].wait_ready()
        seen.append(running[replica].process.pid)

    replicas = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    try:
        for replica in replicas:
            restart(replica)
        with Proxy(0, replicas, tmp_path / "nginx", patience=20) as proxy:
            assert httpx.get(f"{proxy.url}/readyz", trust_env=False).status_code == 200
            assert httpx.get(f"{proxy.url}/metrics", trust_env=False).status_code == 404
            with Traffic(proxy.url, "/v1/models/flower/predict", 32, lambda: body, pause=0.1) as traffic:
                proxy.roll(restart)
            assert traffic.sent.lost == []
            assert len(traffic.sent.seconds) > 200
            running[replicas[0]].kill()  # not taken out: the other one answers
            answers = [httpx.get(f"{proxy.url}/v1/models", trust_env=False).status_code for _ in range(6)]
            assert answers == [200] * 6
    finally:
        for server in running.values():
            server.kill()
    assert len(set(seen)) == 4
