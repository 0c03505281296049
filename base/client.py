"""A client of a running endpoint: what it serves, streamed answers, and answers in one call.

client = Client("http://127.0.0.1:3000")
for chunk in client.stream("/v1/completions", {"prompt": "Fellow"}):
    print("".join(choice["text"] for choice in chunk["choices"]), end="")
"""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from base.endpoints import authorization
from base.errors import MetrolineError


class Client:
    """The endpoint at `url`, such as http://127.0.0.1:3000. It is asked with the key that belongs to it, if any."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        timeout = httpx.Timeout(10, read=130)
        headers = authorization(url)
        with _reachable(self.url):
            self._http = httpx.Client(base_url=self.url, timeout=timeout, headers=headers, trust_env=False)

    def model(self) -> dict[str, Any]:
        """The model that is served there. Raises MetrolineError when nothing answers, or one that writes no text."""
        with _reachable(self.url):
            answer = self._http.get("/v1/models")
            _check(answer)
            try:
                model: dict[str, Any] = answer.json()["data"][0]
                if model.get("engine") == "forward":
                    hint = f"POST /v1/models/{model['id']}/predict"
                    raise MetrolineError(f"{model['id']} answers in one call and writes no text", hint=hint)
                return {**model, "id": str(model["id"]), "version": str(model["version"]),
                        "max_tokens": int(model["max_tokens"])}  # fmt: skip
            except (AttributeError, LookupError, TypeError, ValueError):
                raise ValueError("what answers there is no Metroline endpoint") from None

    def predict(self, model: str, body: bytes, kind: str) -> Any:
        """The answer of a model that answers in one call to a body of this content type. Raises MetrolineError."""
        with _reachable(self.url):
            answer = self._http.post(f"/v1/models/{model}/predict", content=body, headers={"Content-Type": kind})
            _check(answer)
            return answer.json()

    def search(self, model: str, query: str) -> Any:
        """The passages of an index, the best first. Raises MetrolineError."""
        with _reachable(self.url):
            answer = self._http.post("/v1/search", json={"model": model, "query": query})
        _check(answer)
        return answer.json()["data"]

    def stream(self, route: str, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The chunks of a streamed answer. Closing the iterator stops the generation. Raises MetrolineError."""
        body = body | {"stream": True, "stream_options": {"include_usage": True}}
        with _reachable(self.url), self._http.stream("POST", route, json=body) as answer:
            _check(answer)
            for line in answer.iter_lines():
                if line == "data: [DONE]":
                    return
                if line.startswith("data: "):
                    chunk = json.loads(line.removeprefix("data: "))
                    if "error" in chunk:
                        raise MetrolineError(chunk["error"]["message"])
                    yield chunk
            raise MetrolineError("the stream ended early")


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way to `url` into one line for the user."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError) as error:
        hint = "start it with: metroline serve RECIPE"
        raise MetrolineError(f"no endpoint answers at {url}: {error}", hint=hint) from None


def _check(answer: httpx.Response) -> None:
    if answer.status_code >= 400:
        try:
            message = json.loads(answer.read())["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = f"HTTP {answer.status_code}"
        raise MetrolineError(message)
