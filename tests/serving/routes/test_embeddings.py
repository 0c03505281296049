"""POST /v1/embeddings over real sockets: clients of others, token ids, prefixes, cut vectors, batches, limits."""

import base64
import json

import httpx
import numpy as np
import openai
import pytest

from data.text.tokenizer import Tokenizer
from serving.http.keys import KeyRing
from serving.routes.embeddings_schema import MOST_INPUTS
from tests.serving.clients import http, metric, official
from tests.serving.forward_bundles import VECTOR, expected, texts

TEXTS = ["the people of the united states", "ça va? naïve 😀", "a", "and the government of the union"]
PREFIXED = VECTOR.model_copy(update={
    "inputs": (VECTOR.inputs[0].model_copy(update={"query_prefix": "query: "}),),
    "outputs": (VECTOR.outputs[0].model_copy(update={"dimensions": (2,)}),),
})  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return texts(tmp_path_factory.mktemp("embedder") / "vector", "vector", VECTOR)


@pytest.fixture(scope="module")
def served(folder, tmp_path_factory, bundle, mood, serve):
    """The decoder tiny, the classifier mood, vector, and prefixed, which knows a prefix and two dimensions."""
    prefixed = texts(tmp_path_factory.mktemp("embedder") / "prefixed", "prefixed", PREFIXED)
    return serve(bundle, mood, folder, prefixed)


@pytest.fixture(scope="module")
def client(served):
    with http(served) as made:
        yield made


def vector(folder, text):
    return expected(folder, VECTOR, (text.encode(),))[0]


def post(client, **body):
    return client.post("/v1/embeddings", json=body)


def close(found, wanted):
    """The last bits depend on the size of the batch in which the test asked the graph."""
    np.testing.assert_allclose(np.array(found, np.float32), wanted, rtol=0, atol=1e-6)


def vectors(answer):
    assert answer.status_code == 200, answer.text
    return np.array([each["embedding"] for each in answer.json()["data"]], np.float32)


def test_openai_client(served, folder):
    """It asks for base64 by itself, and reads it with NumPy."""
    asked = official(served).embeddings
    wanted = [vector(folder, each) for each in TEXTS]
    answer = asked.create(model="vector", input=TEXTS, user="me")
    found = np.array([each.embedding for each in answer.data], np.float32)
    close(found, wanted)
    assert [each.index for each in answer.data] == [0, 1, 2, 3]
    assert (answer.object, answer.data[0].object, answer.model) == ("list", "embedding", "vector")
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    tokens = [tokenizer.encode(each) for each in TEXTS]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, tokens))

    floats = asked.create(model="vector", input=TEXTS[0], encoding_format="float")
    np.testing.assert_array_equal(np.array(floats.data[0].embedding, np.float32), found[0])
    for given, same in ((tokens[1], found[1:2]), (tokens, found)):
        answer = asked.create(model="vector", input=given)
        np.testing.assert_array_equal(np.array([each.embedding for each in answer.data], np.float32), same)
    (listed,) = [each for each in official(served).models.list().data if each.id == "vector"]
    assert asked.create(model=f"vector:{listed.version}", input="a").model == "vector"
    with pytest.raises(openai.BadRequestError, match=r"tiny makes no embeddings\. vector, prefixed does") as caught:
        asked.create(model="tiny", input="a")
    assert (caught.value.param, caught.value.code) == ("model", "no_embeddings")
    with pytest.raises(openai.BadRequestError, match="mood makes no embeddings"):
        asked.create(model="mood", input="a")
    with pytest.raises(openai.NotFoundError):
        asked.create(model="text-embedding-3-small", input="a")


def test_langchain(served, folder):
    """With texts as they are: by default it would send token ids of OpenAI's own vocabulary."""
    langchain_openai = pytest.importorskip("langchain_openai")
    same = {"base_url": f"{served.url}/v1", "api_key": "none", "check_embedding_ctx_length": False}
    made = langchain_openai.OpenAIEmbeddings(model="vector", chunk_size=3, **same)
    close(made.embed_documents(TEXTS), [vector(folder, each) for each in TEXTS])
    close(made.embed_query(TEXTS[1]), vector(folder, TEXTS[1]))
    asks = {"extra_body": {"input_type": "query"}}
    two = langchain_openai.OpenAIEmbeddings(model="prefixed", dimensions=2, model_kwargs=asks, **same)
    wanted = vector(folder, f"query: {TEXTS[0]}")[:2]
    close(two.embed_query(TEXTS[0]), wanted / np.linalg.norm(wanted))
    with pytest.raises(openai.BadRequestError, match="more than 100"):
        made.embed_query("xyz " * 60)


def test_llama_index(served, folder):
    """LlamaIndex's client for endpoints that are like OpenAI's: `pip install llama-index-embeddings-openai-like`."""
    openai_like = pytest.importorskip("llama_index.embeddings.openai_like")
    made = openai_like.OpenAILikeEmbedding(
        model_name="vector", api_base=f"{served.url}/v1", api_key="none", embed_batch_size=3
    )
    close(made.get_text_embedding_batch(TEXTS), [vector(folder, each) for each in TEXTS])
    close(made.get_query_embedding(TEXTS[1]), vector(folder, TEXTS[1]))
    with pytest.raises(openai.BadRequestError, match="more than 100"):
        made.get_text_embedding("xyz " * 60)


def test_a_vector_alone_and_among_texts_of_every_length(client):
    """To the last bit, whoever shares its batch."""
    lists = [
        [("the people of " * 9)[: 1 + (7 * number) % 90] for number in range(start, start + 24)] for start in (0, 5)
    ]
    together = [vectors(post(client, model="vector", input=each)) for each in lists]
    for texts_of, rows in zip(lists, together, strict=True):
        for text, row in zip(texts_of[::5], rows[::5], strict=True):
            np.testing.assert_array_equal(vectors(post(client, model="vector", input=text))[0], row)
    np.testing.assert_array_equal(together[0][5:], together[1][:-5])


def test_base64_and_the_default_model(client, folder):
    answer = post(client, input="a", encoding_format="base64")
    assert answer.json()["model"] == "vector"
    raw = base64.b64decode(answer.json()["data"][0]["embedding"])
    close(np.frombuffer(raw, "<f4"), vector(folder, "a"))
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), vectors(post(client, input="a"))[0])


def test_a_prefix_and_fewer_dimensions(client, folder):
    plain = vectors(post(client, model="prefixed", input=TEXTS))
    np.testing.assert_array_equal(vectors(post(client, model="prefixed", input=TEXTS, input_type="document")), plain)
    asked = post(client, model="prefixed", input=TEXTS, input_type="query")
    wanted = [vector(folder, f"query: {each}") for each in TEXTS]
    close(vectors(asked), wanted)
    assert asked.json()["usage"]["prompt_tokens"] > post(client, input=TEXTS).json()["usage"]["prompt_tokens"]
    np.testing.assert_array_equal(vectors(post(client, model="prefixed", input=TEXTS, dimensions=4)), plain)
    cut = vectors(post(client, model="prefixed", input=TEXTS, dimensions=2))
    np.testing.assert_allclose(cut, plain[:, :2] / np.linalg.norm(plain[:, :2], axis=1, keepdims=True), rtol=1e-6)
    refused = post(client, model="prefixed", input=[5, 6], input_type="query")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input_type")


def test_as_many_as_openai_takes_with_the_bits_of_each_alone(client, folder):
    """More than may wait at once: they follow each other, whatever their lengths."""
    many = [TEXTS[i % 4] * (1 + i % 3) for i in range(MOST_INPUTS)]
    found = vectors(post(client, input=many))
    alone = {each: vectors(post(client, input=each))[0] for each in dict.fromkeys(many)}
    np.testing.assert_array_equal(found, [alone[each] for each in many])


BAD = {
    "no input": ({}, "input", "is required"),
    "nothing": ({"input": None}, "input", "must be a string, a list of strings"),
    "an empty text": ({"input": ""}, "input", "is empty"),
    "an empty list": ({"input": []}, "input", "is empty"),
    "an empty text among others": ({"input": ["a", ""]}, "input", "is empty at index 1"),
    "empty token ids among others": ({"input": [[7], []]}, "input", "is empty at index 1"),
    "a number": ({"input": 5}, "input", "must be a string"),
    "texts and token ids": ({"input": ["a", [7]]}, "input", "must be a string"),
    "a fraction among token ids": ({"input": [7, 8.5]}, "input", "must be a string"),
    "true among token ids": ({"input": [[7, True]]}, "input", "must be a string"),
    "a list too deep": ({"input": [[[7]]]}, "input", "must be a string"),
    "half a character": ({"input": ["a", "\ud83d"]}, "input", "Item 1: text: half a surrogate pair"),
    "a text too long": ({"input": ["a", "b", "xyz " * 60]}, "input", "Item 2: text: 240 tokens, more than 100"),
    "a text much too long": ({"input": ["a", "xyz " * 6000]}, "input", "Item 1: text: 24,000 characters"),
    "token ids too many": ({"input": [[7], [7] * 101]}, "input", "Item 1: text: 101 tokens, more than 100"),
    "a token id too large": ({"input": [7, 10**30]}, "input", "token ids are between 0 and"),
    "a token id below nought": ({"input": [[7], [-1]]}, "input", "Item 1: text: token ids are between 0 and"),
    "a special token": ({"input": [0, 7]}, "input", "0 is <|endoftext|>, which no text has"),
    "too many inputs": ({"input": ["a"] * 2049}, "input", "2049 entries, and at most 2048"),
    "another format": ({"input": "a", "encoding_format": "int8"}, "encoding_format", "'float' or 'base64'"),
    "dimensions that nobody trained": ({"input": "a", "dimensions": 2}, "dimensions", "dimensions is 4 here"),
    "no dimensions": ({"input": "a", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
    "another type of input": ({"input": "a", "input_type": "passage"}, "input_type", "'query' or 'document'"),
    "a misspelt field": ({"inputs": "a"}, "inputs", "Did you mean input?"),
    "a user that is none": ({"input": "a", "user": 5}, "user", "must be a string"),
    "a decoder": ({"input": "a", "model": "tiny"}, "model", "tiny makes no embeddings"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(client, folder, case):
    body, param, message = BAD[case]
    raw = json.dumps(body).encode()
    answer = client.post("/v1/embeddings", content=raw, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param), error
    assert message in error["message"]
    close(vectors(post(client, input="a")), [vector(folder, "a")])


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"input": ', b'{"input": NaN}', b'{"input": "a", "input": "b"}'])
def test_no_body_of_this_kind(client, body):
    answer = client.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text


def test_metrics_and_the_log(served, client):
    labels = {"model": "vector", "route": "/v1/embeddings", "status": "200"}
    before = metric(served, "metroline_requests_total", **labels), metric(served, "metroline_batch_size_sum")
    answer = client.post("/v1/embeddings", json={"input": TEXTS}, headers={"X-Request-Id": "embed-1"})
    assert metric(served, "metroline_requests_total", **labels) == before[0] + 1
    assert metric(served, "metroline_batch_size_sum") == before[1] + 4
    (line,) = [json.loads(each) for each in served.log.read_text().splitlines() if '"embed-1"' in each]
    used = answer.json()["usage"]["prompt_tokens"]
    assert (line["model"], line["items"], line["prompt_tokens"]) == ("vector", 4, used)


def test_keys_and_their_limits(folder, serve, tmp_path):
    """A key is asked for, and tokens of texts count against its limit."""
    ring = KeyRing(tmp_path / "keys.json")
    key = ring.add("alice", tokens_per_minute=40)
    server = serve(folder, keys=str(ring.path))
    with http(server) as client:
        assert post(client, input="a").status_code == 401
        allowed = {"Authorization": f"Bearer {key}"}

        def ask(text):
            return httpx.post(f"{server.url}/v1/embeddings", json={"input": text}, headers=allowed, trust_env=False)

        assert ask("a" * 30).status_code == 200
        refused = ask("a" * 30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert ask("b" * 50).json()["error"] | {"message": ""} == {
            "message": "", "type": "invalid_request_error", "param": "input", "code": "tokens_over_limit"}  # fmt: skip


def test_no_room_is_a_429(folder, serve):
    """Nothing may wait beside the one batch: what is sent at once comes through, or is told when to ask again."""
    import concurrent.futures

    server = serve(folder, queue="0")
    with http(server) as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        many = [TEXTS[i % 4] for i in range(1000)]
        answers = list(pool.map(lambda _: post(client, input=many), range(16)))
    assert {each.status_code for each in answers} == {200, 429}
    refused = next(each for each in answers if each.status_code == 429)
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["Retry-After"]) >= 1


def test_the_description(client):
    made = client.get("/openapi.json").json()
    body = made["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/EmbeddingsRequest"}
    assert {"input", "dimensions", "input_type", "encoding_format"} <= set(
        made["components"]["schemas"]["EmbeddingsRequest"]["properties"]
    )
