"""POST /v1/search over real sockets: modes, ranges that are the documents' bytes, bad inputs, metrics, load."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import lancedb
import pytest

from base import manifest
from base.errors import MetrolineError
from data.index import golden
from data.index.documents import of_bytes
from data.index.passages import Passages
from data.index.store import StoreConfig
from data.index.stores import opened
from serving.http.settings import Settings
from serving.routes.search_schema import LONGEST
from serving.runtime import retrieve_model
from serving.runtime.bundles import load
from tests.indexes import DOCUMENTS
from tests.serving.clients import http, metric

QUERY = "the oldest ferry is called Concordia"


@pytest.fixture(scope="module")
def served(library, mood, serve):
    """The index, and a classifier."""
    return serve(mood, library.bundle)


@pytest.fixture(scope="module")
def client(served):
    with http(served) as made:
        yield made


def post(client, **body):
    return client.post("/v1/search", json=body)


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid", None])
def test_passages_are_bytes_of_their_documents(client, mode):
    answer = post(client, query=QUERY, k=3, **({"mode": mode} if mode else {})).json()
    assert (answer["model"], answer["mode"]) == ("library", mode or "hybrid")
    found = answer["data"]
    assert found
    assert len(found) <= 3
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    for each in found:
        raw = of_bytes(each["document"], DOCUMENTS[each["document"]]).text.encode()
        if each["document"].endswith((".txt", ".md")):
            assert raw == DOCUMENTS[each["document"]]
        assert raw[each["start"] : each["end"]].decode() == each["text"]
    if mode != "vector":
        assert found[0]["document"] == "harbour.txt"
        assert "Concordia" in found[0]["text"]


def test_words_that_are_nowhere_find_nothing_by_text_and_the_nearest_by_both(client, served):
    before = metric(served, "metroline_search_empty_total", mode="text")
    assert post(client, query="xylophone quokka", mode="text").json()["data"] == []
    assert metric(served, "metroline_search_empty_total", mode="text") == before + 1
    assert len(post(client, query="xylophone quokka", k=2).json()["data"]) == 2


def test_what_looks_like_a_query_language_is_words(client):
    for query in ('"harbour" AND (ferry', "document:* OR 1=1; --", "+ferry -harbour ~2 ^3", "🚢 über"):
        assert post(client, query=query, mode="hybrid").status_code == 200, query


def test_the_same_answer_alone_and_among_others(client):
    queries = [f"{QUERY} {i}" for i in range(24)]
    alone = [post(client, query=each).json()["data"] for each in queries]
    with ThreadPoolExecutor(12) as pool:
        together = [each.json()["data"] for each in pool.map(lambda query: post(client, query=query), queries)]
    assert together == alone


BAD = {
    "no query": ({}, 400, "query is required"),
    "an empty one": ({"query": ""}, 400, "query"),
    "white space": ({"query": " \n"}, 400, "query is empty"),
    "no text": ({"query": 5}, 400, "query must be a string"),
    "half a character": ({"query": "a\ud800"}, 400, "unicode string"),
    "long": ({"query": "a " * LONGEST}, 400, "query"),
    "more than the embedder reads": ({"query": "a" * 500}, 400, "more than 400"),
    "k of nothing": ({"query": "a", "k": 0}, 400, "k input should"),
    "k of all": ({"query": "a", "k": 10**6}, 400, "k input should"),
    "a mode that is none": ({"query": "a", "mode": "fuzzy"}, 400, "mode"),
    "a misspelt name": ({"querry": "a"}, 400, "Did you mean query"),
    "no such index": ({"query": "a", "model": "libary"}, 404, "does not exist"),
    "a model that is none": ({"query": "a", "model": "mood"}, 400, "mood is no index of documents. library is."),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(client, case):
    body, status, message = BAD[case]
    content = json.dumps(body).encode()
    answer = client.post("/v1/search", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


def test_what_it_says_of_itself(client, served):
    (listed,) = [each for each in client.get("/v1/models").json()["data"] if each["id"] == "library"]
    assert (listed["engine"], listed["task"], listed["documents"]) == ("retrieve", "passage-retrieval", 4)
    assert metric(served, "metroline_index_chunks") == listed["chunks"]
    assert metric(served, "metroline_index_built_timestamp_seconds") == listed["created"]
    assert "index" in client.get("/card?model=library").text
    described = client.get("/openapi.json").json()["paths"]["/v1/search"]["post"]
    assert "SearchRequest" in json.dumps(described)
    post(client, query="ferry", mode="vector")
    assert metric(served, "metroline_search_seconds_count", mode="vector") >= 1
    assert metric(served, "metroline_requests_total", route="/v1/search", status="200", model="library") >= 1


def test_an_index_is_asked_by_search_alone(client):
    for path, body in (("/v1/models/library/predict", {"inputs": "a"}), ("/v1/completions", {"prompt": "a"}),
                       ("/v1/embeddings", {"input": "a"})):  # fmt: skip
        answer = client.post(path, json={"model": "library", **body} if "predict" not in path else body)
        assert answer.status_code == 400, path
        if path != "/v1/embeddings":
            assert answer.json()["error"]["message"].endswith("Send its input to POST /v1/search."), path


def test_an_index_that_finds_something_else_is_not_served(library, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(library.bundle, folder)
    queries = golden.load(folder)
    wrong = {"document": "rules.html", "start": 0, "end": 3, "score": 9.0}
    golden.write(folder, [golden.Query(each.query, each.mode, (wrong,)) for each in queries])
    values = json.loads((folder / "manifest.json").read_text())
    manifest.write(folder, {key: values[key] for key in ("name", "data_hash")})
    with pytest.raises(MetrolineError, match=r"golden vector search for .* expected rules.html \[0, 3\)"):
        retrieve_model.load(load(folder), Settings())


def test_an_index_whose_table_was_written_to_since_is_refused(library, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(library.bundle, folder)
    retrieve_model.load(load(folder), Settings()).engine.abort()  # reading it writes nothing
    load(folder)
    lancedb.connect(str(folder / "table")).open_table("chunks").delete("number = 0")  # a version in files of its own
    for name in json.loads((folder / "manifest.json").read_text())["files"]:
        shutil.copy2(library.bundle / name, folder / name)  # whoever wrote to it puts back what is listed
    whole = Passages(folder)
    assert len(opened(folder / "table", StoreConfig())) < len(whole)  # the store opens the newest version
    with pytest.raises(MetrolineError, match=r"the manifest does not list table/chunks\.lance/"):
        load(folder)


@pytest.mark.parametrize("name", ["documents.bin", "embedder/model.onnx", "embedder/manifest.json", "chunks.arrow"])
def test_a_damaged_index_is_refused(library, tmp_path, name):
    folder = tmp_path / "bundle"
    shutil.copytree(library.bundle, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"?")
    with pytest.raises(MetrolineError, match=f"{name} is not the file"):
        load(folder)
