"""Tiny real bundles, and real servers on free ports of the loopback interface."""

import os
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from serving.app.run import Server, start
from serving.engines.decode import drift
from serving.engines.decode.engine import Engine
from tests.serving import adapter_bundles, forward_bundles, tiny_bundle
from tests.serving.engines.decode import engines


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, fp32 and int8, context 64."""
    return tiny_bundle.build(tmp_path_factory.mktemp("bundle") / "bundle", int8=True)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says SCRIPT, byte by byte, from wherever the prompt's length puts it; slow enough to be interrupted."""
    tokenizer = tiny_bundle.byte_tokenizer()
    script = tiny_bundle.bytes_of(tiny_bundle.SCRIPT, tokenizer)
    folder = tmp_path_factory.mktemp("scripted") / "bundle"
    return tiny_bundle.build(folder, name="scripted", context=1024, max_tokens=1000, script=script, delay_nodes=8)


@pytest.fixture(scope="session")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a table → one of three labels."""
    return forward_bundles.table(tmp_path_factory.mktemp("flower") / "bundle")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of any size → one of four labels."""
    return forward_bundles.image(tmp_path_factory.mktemp("shapes") / "bundle")


@pytest.fixture(scope="session")
def mood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts → one of two labels."""
    return forward_bundles.texts(tmp_path_factory.mktemp("mood") / "bundle")


@pytest.fixture(scope="session")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """A base with room for four adapters, and two adapters, `loud` and `low` (of a lower rank)."""
    folder = tmp_path_factory.mktemp("adapted")
    (folder / "base").mkdir()
    model = adapter_bundles.base(folder / "base")
    made = [
        adapter_bundles.adapter(folder / name, folder / "base", name, adapter_bundles.draw(deepcopy(model), seed, rank))
        for name, seed, rank in (("loud", 1, 8), ("low", 2, 3))
    ]
    return folder / "base", *made


@pytest.fixture(scope="session")
def several(
    tmp_path_factory: pytest.TempPathFactory, flower: Path, shapes: Path, mood: Path, bundle: Path,
    serve: "Callable[..., Server]",
) -> Server:  # fmt: skip
    """One server with a model of every kind: flower, shapes, mood, price, vector, and the decoder tiny."""
    folder = tmp_path_factory.mktemp("more")
    price = forward_bundles.table(folder / "price", "price", forward_bundles.PRICE)
    vector = forward_bundles.texts(folder / "vector", "vector", forward_bundles.VECTOR)
    return serve(flower, shapes, mood, price, vector, bundle, body_seconds="2", cors="https://page.example")


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts a server for a bundle, or several; all are killed at the end of the session."""
    servers: list[Server] = []

    def start_one(*bundles: Path, workers: int = 1, ready: bool = True, **settings: str) -> Server:
        home = tmp_path_factory.mktemp("home")
        environment = {"BENTOML_HOME": str(home), "METROLINE_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environment |= {f"METROLINE_{name.upper()}": value for name, value in settings.items() if name != "pythonpath"}
        if "pythonpath" in settings:
            environment["PYTHONPATH"] = os.pathsep.join([settings["pythonpath"], os.environ.get("PYTHONPATH", "")])
        server = start(*bundles, port=0, workers=workers, log=home / "log", environment=environment, tied=True)
        servers.append(server)
        if ready:
            server.wait_ready(60)
        return server

    yield start_one
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def server(bundle: Path, serve: Callable[..., Server]) -> Server:
    """One server with the random int8 bundle, for tests that leave it as it is."""
    return serve(bundle, body_seconds="2")


@pytest.fixture(scope="session")
def scripted_server(scripted: Path, serve: Callable[..., Server]) -> Server:
    """One server that says SCRIPT."""
    return serve(scripted)


@pytest.fixture
def make(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Engine]]:
    """Makes engines that score every prompt; at the end each must have given back all that it took."""
    monkeypatch.setattr(drift, "SPACING", 0.0)
    made: list[Engine] = []

    def engine(
        slots: int = 4, start: bool = True, folder: Path = bundle, precision: str = "fp32", **options: Any
    ) -> Engine:
        engine = engines.build(folder, precision, slots=slots, **options)
        made.append(engine)
        if start:
            engine.start()
        return engine

    yield engine
    for engine in made:  # whatever a test did, nothing is left behind
        deadline = time.monotonic() + 10
        while not engine.idle and engine.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        if engine.alive:
            assert engine.idle
            assert engine._slots.free == engine._slots.count
            assert engine._slots.reserved == 0
            assert not engine._scheduler.matchers
            assert engine._metrics.named("running")[-1] == [0, 0]
            assert [engine._metrics.named(name)[-1] for name in ("queued", "active")] == [[0], [0]]
