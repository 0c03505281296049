"""POST /v1/rerank over real sockets: Cohere's clients, plain HTTP, cut documents, limits, bad inputs."""

import json

import numpy as np
import pytest

from serving.http.keys import KeyRing
from serving.routes.rerank_schema import MOST_DOCUMENTS
from serving.runtime.reranker import Reranker
from tests.serving.clients import http, metric
from tests.serving.forward_bundles import pairs, texts

QUERY = "the people of the union"
DOCUMENTS = ["a", "the people of the united states", "ça va? naïve 😀", "and the government of the union", "the " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pairs(tmp_path_factory.mktemp("reranker") / "pairs", "pairs")


@pytest.fixture(scope="module")
def served(folder, tmp_path_factory, bundle, serve):
    """The decoder tiny, the classifier mood, and the reranker pairs."""
    return serve(bundle, texts(tmp_path_factory.mktemp("mood") / "mood"), folder)


@pytest.fixture(scope="module")
def client(served):
    with http(served) as made:
        yield made


@pytest.fixture(scope="module")
def wanted(folder):
    return Reranker.load(folder).score(QUERY, DOCUMENTS)


def post(client, **body):
    return client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS} | body)


def by_index(results):
    return [score for _, score in sorted((each["index"], each["relevance_score"]) for each in results)]


def test_the_clients_of_cohere(served, wanted):
    """Both ask at addresses of their own, with documents as texts or objects."""
    cohere = pytest.importorskip("cohere")
    order = np.argsort(-wanted, kind="stable").tolist()
    options = {"api_key": "none", "base_url": served.url}
    first = cohere.Client(**options).rerank(
        model="pairs", query=QUERY, documents=[{"text": each} for each in DOCUMENTS], top_n=3, return_documents=True
    )
    second = cohere.ClientV2(**options).rerank(model="pairs", query=QUERY, documents=DOCUMENTS)
    assert [each.index for each in second.results] == order
    assert [each.index for each in first.results] == order[:3]
    assert [each.document.text for each in first.results] == [DOCUMENTS[number] for number in order[:3]]
    for each in (*first.results, *second.results):
        assert np.float32(each.relevance_score) == wanted[each.index]
    with pytest.raises(cohere.errors.BadRequestError, match=r"tiny ranks no documents\. pairs does"):
        cohere.ClientV2(**options).rerank(model="tiny", query="a", documents=["b"])
    with pytest.raises(cohere.errors.NotFoundError):
        cohere.Client(**options).rerank(model="rerank-v3.5", query="a", documents=["b"])


def test_the_answer(client, wanted):
    answer = post(client, return_documents=True, documents=[*DOCUMENTS[:-1], {"text": DOCUMENTS[-1], "page": 7}]).json()
    assert (answer["model"], answer["object"], len(answer["id"]) > 4) == ("pairs", "list", True)
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_array_equal(np.array(by_index(answer["results"]), np.float32), wanted)
    last = next(each for each in answer["results"] if each["index"] == 4)
    assert last["document"] == {"text": DOCUMENTS[-1], "page": 7}
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 100
    assert "document" not in post(client).json()["results"][0]
    equal = post(client, documents=["a", "b a", "a"], top_n=9).json()["results"]
    assert [each["index"] for each in equal if each["index"] != 1] == [0, 2]


def test_as_many_as_cohere_takes_with_the_bits_of_each_alone(client):
    """More than may wait at once: they follow each other, whatever their lengths."""
    many = [DOCUMENTS[i % 5][: 1 + i % 37] for i in range(MOST_DOCUMENTS)]
    found = by_index(post(client, documents=many).json()["results"])
    alone = {each: by_index(post(client, documents=[each]).json()["results"])[0] for each in dict.fromkeys(many)}
    assert found == [alone[each] for each in many]


def test_longer_documents_are_cut_where_that_is_asked_for(client):
    long = "the people " * 100
    refused = post(client, documents=["a", long]).json()["error"]
    assert refused["message"].startswith("Item 1: document: ")
    cut = post(client, documents=[long, "the people of"], max_tokens_per_doc=4).json()["results"]
    kept = post(client, documents=["the people of", "the people "], max_tokens_per_doc=4096).json()["results"]
    assert len(cut) == len(kept) == 2
    whole = post(client, documents=["the people"], max_tokens_per_doc=4096).json()["results"]
    assert whole == post(client, documents=["the people"]).json()["results"]
    assert post(client, documents=[long], max_tokens_per_doc=10**9).status_code == 200


BAD = {
    "no query": ({"query": None}, "query", "must be a string"),
    "an empty query": ({"query": ""}, "documents", "query: the text is empty"),
    "a query too long": ({"query": "xyz " * 40}, "documents", "query: 160 tokens, more than 30"),
    "no documents": ({"documents": None}, "documents", "must be a list of texts"),
    "an empty list": ({"documents": []}, "documents", "is empty"),
    "a text alone": ({"documents": "a"}, "documents", "must be a list of texts"),
    "an empty document": ({"documents": ["a", " "]}, "documents", "is empty at index 1"),
    "a number": ({"documents": ["a", 5]}, "documents", "has no text at index 1"),
    "an object without text": ({"documents": [{"title": "a"}]}, "documents", "has no text at index 0"),
    "an object whose text is none": ({"documents": [{"text": 5}]}, "documents", "has no text at index 0"),
    "half a character": ({"documents": ["a", "\ud83d"]}, "documents", "half a character (a lone surrogate) at index 1"),
    "half a character of one to cut": ({"documents": ["\ud83d"], "max_tokens_per_doc": 2}, "documents", "at index 0"),
    "half a character to give back": (
        {"documents": [{"text": "a", "title": ["\ud83d"]}], "return_documents": True},
        "documents",
        "half a character (a lone surrogate) at index 0",
    ),
    "half a character in the query": ({"query": "\ud83d"}, "documents", "query: half a surrogate pair"),
    "a document too long": ({"documents": ["xyz " * 60]}, "documents", "document: 240 tokens, more than 60"),
    "too many": ({"documents": ["a"] * 1001}, "documents", "1001 entries, and at most 1000"),
    "none of the best": ({"top_n": 0}, "top_n", "greater than or equal to 1"),
    "a fraction of them": ({"top_n": 1.5}, "top_n", "integer"),
    "no tokens": ({"max_tokens_per_doc": 0}, "max_tokens_per_doc", "greater than or equal to 1"),
    "a misspelt field": ({"top_k": 3}, "top_k", "Did you mean top_n?"),
    "a decoder": ({"model": "tiny"}, "model", "tiny ranks no documents. pairs does"),
    "a classifier": ({"model": "mood"}, "model", "mood ranks no documents"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(client, wanted, case):
    body, param, message = BAD[case]
    raw = json.dumps({"query": QUERY, "documents": DOCUMENTS} | body).encode()
    answer = client.post("/v1/rerank", content=raw, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param), error
    assert message in error["message"]
    assert np.float32(by_index(post(client).json()["results"])[0]) == wanted[0]


def test_a_server_without_a_reranker(serve, bundle):
    with http(serve(bundle)) as client:
        error = post(client).json()["error"]
    assert (error["message"], error["code"]) == ("tiny ranks no documents.", "no_rerank")


def test_keys_and_the_log(folder, serve, tmp_path):
    ring = KeyRing(tmp_path / "keys.json")
    key = ring.add("alice", tokens_per_minute=40)
    server = serve(folder, keys=str(ring.path))
    allowed = {"Authorization": f"Bearer {key}", "X-Request-Id": "rank-1"}
    with http(server) as client:
        assert post(client).status_code == 401
        answer = client.post("/v1/rerank", json={"query": "a", "documents": ["b", "c"]}, headers=allowed)
        assert answer.status_code == 200, answer.text
        refused = client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS}, headers=allowed)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "tokens_over_limit")
    lines = [json.loads(each) for each in server.log.read_text().splitlines() if '"rank-1"' in each]
    assert (lines[0]["model"], lines[0]["items"], lines[0]["prompt_tokens"]) == ("pairs", 2, 4)
    assert metric(server, "metroline_requests_total", route="/v1/rerank", status="200") == 1


def test_one_address_more_is_described(client):
    made = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/rerank", "/v2/rerank"):
        body = made[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": "#/components/schemas/RerankRequest"}
