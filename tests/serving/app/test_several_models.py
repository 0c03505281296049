"""Several bundles in one service: listed, picked by name, counted apart, ready together."""

import json
import os
import subprocess
import sys

import httpx
import openai
import pytest

import serving.app.run
from base.endpoints import authorization, endpoints
from base.errors import MetrolineError
from base.processes import free_port
from serving.app.run import start
from tests.serving import chat_bundle, clients, tiny_bundle
from tests.serving.clients import metric


@pytest.fixture(scope="module")
def both(bundle, tmp_path_factory, serve):
    talker = chat_bundle.build(tmp_path_factory.mktemp("several") / "talker")
    return serve(bundle, talker, slots="4", kv_tokens="600")


@pytest.fixture(scope="module")
def official(both):
    return clients.official(both)


def test_they_are_listed_and_picked(official):
    assert [model.id for model in official.models.list().data] == ["tiny", "talker"]
    assert official.models.retrieve("talker").chat is True
    tiny = official.completions.create(model="tiny", prompt="the", max_tokens=2)
    talker = official.completions.create(model="talker", prompt="the", max_tokens=2, temperature=0)
    assert (tiny.model, talker.model) == ("tiny", "talker")
    assert tiny.usage.prompt_tokens == 1  # each with its own tokenizer
    assert talker.usage.prompt_tokens == 3
    assert talker.choices[0].text == chat_bundle.said(3, 2)
    chat = official.chat.completions.create(model="talker", messages=[{"role": "user", "content": "a"}], max_tokens=2)
    assert chat.system_fingerprint == talker.system_fingerprint
    with pytest.raises(openai.NotFoundError, match="'tiny', 'talker'"):
        official.completions.create(model="gpt-4", prompt="a")


def test_the_first_one_answers_where_none_is_named(both):
    answer = httpx.post(f"{both.url}/v1/completions", json={"prompt": "a", "max_tokens": 1}, trust_env=False)
    assert answer.json()["model"] == "tiny"


def test_each_has_its_card(both):
    for name in ("tiny", "talker"):
        assert httpx.get(f"{both.url}/card", params={"model": name}, trust_env=False).text.startswith(f"# {name}")


def test_they_are_counted_apart(both, official):
    before = [metric(both, "metroline_tokens_out_total", model=name) for name in ("tiny", "talker")]
    official.completions.create(model="talker", prompt="the", max_tokens=7, temperature=0)
    after = [metric(both, "metroline_tokens_out_total", model=name) for name in ("tiny", "talker")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [0, 7]
    assert metric(both, "metroline_requests_total", model="talker", route="/v1/completions", status="200") > 0


def test_the_budget_of_the_caches_is_shared_out(both):
    assert metric(both, "metroline_kv_tokens_capacity", model="talker") == 300
    assert metric(both, "metroline_kv_tokens_capacity", model="tiny") == 256  # all that four slots of 64 can hold


def test_two_of_one_name_are_refused(bundle, tmp_path):
    twin = tiny_bundle.build(tmp_path / "twin")
    with pytest.raises(MetrolineError, match="another bundle is named tiny too"):
        start(bundle, twin, port=0)


def release(store, **bundles):
    """Make a store in which each bundle is the live release of its name."""
    for name, path in bundles.items():
        folder = store / "models" / name / "abc"
        folder.parent.mkdir(parents=True)
        folder.symlink_to(path)
        (store / "metroline").mkdir(exist_ok=True)
        (store / "metroline" / f"{name}.json").write_text(json.dumps({"live": f"{name}:abc", "previous": None}))


def test_releases_are_served_and_announced_by_name(bundle, tmp_path):
    """As `metroline serve tiny talker` does: two live releases in a store, each with its note."""
    store = tmp_path / "store"
    release(store, tiny=bundle, talker=chat_bundle.build(tmp_path / "talker"))
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "serving.app.run", "--model", "tiny", "--model", "talker", "--port", str(port)]
    environment = os.environ | {"BENTOML_HOME": str(store), "METROLINE_AUTH": "on"}
    process = subprocess.Popen(command, cwd=serving.app.run.ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert "serving at" in process.stderr.readline()
        (note,) = endpoints(store, "talker")
        assert endpoints(store, "tiny") == [type(note)(note.pid, "tiny", note.url, note.key)]
        headers = authorization(note.url, {"BENTOML_HOME": str(store)})
        listed = httpx.get(f"{note.url}/v1/models", headers=headers, trust_env=False).json()["data"]
        assert [model["id"] for model in listed] == ["tiny", "talker"]
        assert httpx.get(f"{note.url}/v1/models", trust_env=False).status_code == 401
        assert oct((store / "metroline" / "endpoints").stat().st_mode)[-3:] == "700"
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert endpoints(store, "talker") == []


def test_a_store_that_cannot_be_written_is_served_and_said(bundle, tmp_path):
    """As on a read-only file system. BentoML's own folders (bentos, tmp) are not there either."""
    store = tmp_path / "store"
    release(store, tiny=bundle)
    (store / "metroline/endpoints").write_text("in the way: root, too, cannot make the folder")
    before = sorted(store.rglob("*"))
    port = serving.app.run.free_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "serving.app.run", "--model", "tiny", "--port", str(port)]
    environment = os.environ | {"BENTOML_HOME": str(store), "METROLINE_PRECISION": "fp32"}
    process = subprocess.Popen(command, cwd=serving.app.run.ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr.readline() == (
            f"new releases will not reach this endpoint, its store {store} cannot be written: File exists\n"
        )
        assert "serving at" in process.stderr.readline()
        body = {"prompt": "a", "max_tokens": 1}
        assert httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body, trust_env=False).status_code == 200
    finally:
        process.terminate()
        process.wait(40)
    assert [path for path in sorted(store.rglob("*")) if path not in before] == []
