"""POST /v1/search and chats on an index with a reranker: its order, its threshold, an index without one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data.index.passages import Passages
from data.index.reranked import Pairs
from serving.routes.cited.grammar import NOTHING
from serving.runtime.reranker import Reranker
from tests import indexes
from tests.serving import chat_bundle
from tests.serving.clients import http, metric

QUERY = "the oldest ferry is called Concordia"


@pytest.fixture(scope="module")
def served(shelf, library, serve, tmp_path_factory):
    """An index with a reranker, one without, one whose threshold the reranker's scores never reach, and a chat."""
    root = tmp_path_factory.mktemp("strict")
    indexes.reranker(root)
    strict = indexes.bundle(root, "strict", task={"kind": "index", "reranker": "pairs", "threshold": 1.0})
    talker = chat_bundle.build(root / "talker", context=4096, max_tokens=200)
    return serve(shelf.bundle, library.bundle, strict.bundle, talker)


@pytest.fixture(scope="module")
def client(served):
    with http(served) as made:
        yield made


def search(client, **body):
    return client.post("/v1/search", json={"query": QUERY, "k": 8} | body)


def test_what_hybrid_search_finds_comes_in_the_rerankers_order(client, shelf):
    found = search(client, model="shelf").json()
    assert found["mode"] == "reranked"
    plain = search(client, model="shelf", mode="hybrid").json()
    assert plain["mode"] == "hybrid"
    place = ("document", "start", "end")
    assert {tuple(each[key] for key in place) for each in found["data"]} == {
        tuple(each[key] for key in place) for each in plain["data"]
    }
    reranker, passages = Reranker.load(shelf.bundle / "reranker"), Passages(shelf.bundle)
    every = [passages.passage(number) for number in range(len(passages))]
    texts = [next(each.embedded for each in every if vars(each).items() >= {key: hit[key] for key in place}.items())
             for hit in found["data"]]  # fmt: skip
    pairs = Pairs(QUERY, texts, reranker.cut, (30, 60))
    assert len(pairs.items) > len(texts)  # some chunks are longer than it reads
    expected = pairs.best([float(reranker.score(question, [part])[0]) for question, part in pairs.items])
    np.testing.assert_array_equal([hit["score"] for hit in found["data"]], expected)
    assert expected == sorted(expected, reverse=True)


def test_many_at_once_get_what_one_alone_gets(client):
    """None is refused, though together they have more texts than wait at once."""
    queries = [f"{QUERY} {number}" for number in range(48)]
    alone = [search(client, model="shelf", query=each).json()["data"] for each in queries[::8]]
    with ThreadPoolExecutor(48) as pool:
        together = list(pool.map(lambda query: search(client, model="shelf", query=query), queries))
    assert {each.status_code for each in together} == {200}
    assert [each.json()["data"] for each in together[::8]] == alone


def test_an_index_without_one_says_so(client):
    answer = search(client, model="library", mode="reranked")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "library has no reranker. Its modes are vector, text, hybrid."
    modes = {each["id"]: each.get("mode") for each in client.get("/v1/models").json()["data"]}
    assert modes == {"shelf": "reranked", "library": "hybrid", "strict": "reranked", "talker": None}


def test_the_threshold_is_the_rerankers(client, served):
    body = {"model": "talker", "messages": [{"role": "user", "content": QUERY}], "max_tokens": 100}
    answer = client.post("/v1/chat/completions", json=body | {"sources": "strict"}).json()
    assert answer["choices"][0]["message"]["content"] == NOTHING
    sources = client.post("/v1/chat/completions", json=body | {"sources": "shelf"}).json()["sources"]
    assert sources
    scores = [each["score"] for each in sources]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert metric(served, "metroline_search_seconds_count", model="shelf", mode="reranked") >= 2
