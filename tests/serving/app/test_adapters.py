"""Adapters over HTTP: named as BASE:ADAPTER, listed with their parent, counted by themselves; come and go by reload."""

import json
import shutil
import threading

import httpx
import pytest

from base.files import read_json, write_json
from serving.app.run import start
from tests.serving import adapter_bundles
from tests.serving.app.test_service import metrics, until

NAMES = ["exported", "exported:loud", "exported:low"]


@pytest.fixture(scope="module")
def server(adapted, serve):
    return serve(*adapted)


def post(server, model, **more) -> httpx.Response:
    body = {"model": model, "prompt": "the people", "max_tokens": 6, "temperature": 0, "ignore_eos": True} | more
    return httpx.post(f"{server.url}/v1/completions", json=body, timeout=20, trust_env=False)


def get(server, path) -> httpx.Response:
    return httpx.get(server.url + path, timeout=20, trust_env=False)


def test_models_are_listed_with_their_parent(server, adapted) -> None:
    listed = {each["id"]: each for each in get(server, "/v1/models").json()["data"]}
    assert list(listed) == NAMES
    assert listed["exported"]["adapters"] == adapter_bundles.ROOM
    assert "parent" not in listed["exported"]
    for name, folder in zip(NAMES[1:], adapted[1:], strict=True):
        assert listed[name]["parent"] == "exported"
        assert listed[name]["version"] == read_json(folder / "manifest.json")["version"]
        assert get(server, f"/v1/models/{name}").json() == listed[name]
        assert get(server, f"/card?model={name}").text == f"# {folder.name}\n"
    assert get(server, "/status.json").status_code == 200
    assert "BASE:ADAPTER" in get(server, "/openapi.json").text


def test_each_answers_by_its_own_name(server) -> None:
    answers = {name: post(server, name, logprobs=0).json() for name in NAMES}
    assert [answer["model"] for answer in answers.values()] == NAMES
    texts = {json.dumps(answer["choices"][0]["logprobs"]["tokens"]) for answer in answers.values()}
    assert len(texts) == 3
    version = get(server, "/v1/models/exported:low").json()["version"]
    for name in ("exported:low", f"exported:low:{version}"):
        assert post(server, name, logprobs=0).json()["choices"] == answers["exported:low"]["choices"]
        assert post(server, name, logprobs=0).json()["system_fingerprint"] == f"fp_{version}"
    together: dict[int, dict] = {}

    def ask(number: int) -> None:
        together[number] = post(server, NAMES[number % 3], logprobs=0).json()["choices"][0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, choice in together.items():
        assert choice == answers[NAMES[number % 3]]["choices"][0]


def test_what_is_not_there_is_404(server) -> None:
    base = get(server, "/v1/models/exported").json()["version"]
    assert post(server, f"exported:{base}").status_code == 200
    for name in ("exported:quiet", "loud", "exported:loud:", "exported:loud:000000000000", ":loud", "other:loud"):
        refused = post(server, name)
        assert refused.status_code == 404
        assert "exported:loud" in refused.json()["error"]["message"]


def test_each_is_counted_by_itself(server) -> None:
    def count(family: str, model: str) -> float:
        found = metrics(server)[f"metroline_{family}"].samples
        return sum(each.value for each in found if each.labels["model"] == model and each.name.endswith("_total"))

    before = {name: count("requests", name) for name in NAMES}
    tokens = count("adapter_tokens_out", NAMES[1])
    assert post(server, NAMES[1], stream=True).status_code == 200
    assert count("requests", NAMES[1]) == before[NAMES[1]] + 1
    assert count("adapter_tokens_out", NAMES[1]) == tokens + 6
    assert [count("requests", name) for name in (NAMES[0], NAMES[2])] == [before[NAMES[0]], before[NAMES[2]]]


def test_adapters_come_and_go_by_reload_without_losing_a_request(adapted, tmp_path, serve) -> None:
    """Of releases in a store: one is released while requests keep coming, then the other one is taken out."""
    home = tmp_path / "store"

    def release(folder, name, version=None):
        version = version or read_json(folder / "manifest.json")["version"]
        shutil.copytree(folder, home / "models" / name / version, dirs_exist_ok=True)
        (home / "metroline").mkdir(exist_ok=True)
        write_json(home / "metroline" / f"{name}.json", {"live": f"{name}:{version}", "previous": None})

    base, loud, low = adapted
    release(base, "exported")
    release(loud, "loud")
    server = start(models=["exported"], port=0, tied=True, log=tmp_path / "log",
                   environment={"BENTOML_HOME": str(home), "METROLINE_THREADS": "1"})  # fmt: skip
    try:
        server.wait_ready(60)
        results: list[int] = []
        done = threading.Event()

        def keep_asking(model: str) -> None:
            while not done.is_set():
                results.append(post(server, model).status_code)

        threads = [threading.Thread(target=keep_asking, args=(name,)) for name in NAMES[:2]]
        for thread in threads:
            thread.start()
        assert post(server, NAMES[2]).status_code == 404
        release(low, "low")
        server.reload()
        until(lambda: post(server, NAMES[2]).status_code == 200, 30)
        done.set()
        for thread in threads:
            thread.join(20)
        assert set(results) == {200}
        (home / "metroline" / "loud.json").unlink()
        server.reload()
        until(lambda: post(server, NAMES[1]).status_code == 404, 30)
        assert post(server, NAMES[2]).status_code == 200
    finally:
        server.kill()
