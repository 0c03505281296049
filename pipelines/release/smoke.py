"""Does an endpoint serve a release? It is asked over HTTP, as a client would.

Of engine `decode` a few tokens are wanted; of engine `forward` the bundle's golden items are sent as the bytes that
they are, and the answers must be the trained model's; of engine `retrieve` the golden queries must find their passages.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.endpoints import authorization
from base.errors import MetrolineError
from data import golden
from data.signature import FILE, Signature
from pipelines.release.adapters import model_of

if TYPE_CHECKING:
    import httpx


def smoke(base_url: str, tag: str, timeout: float, bundle: Path, *, candidate: bool = False) -> None:
    """Ask the endpoint at `base_url` until the release `tag` answers rightly. `bundle`: its folder in the store;
    `candidate`: it is tried beside the live one.

    Raises MetrolineError after `timeout` seconds, saying what was wrong at last.
    """
    import httpx

    name, _, version = tag.partition(":")
    name = model_of(bundle, name)
    give_up, problem = time.monotonic() + timeout, "no answer"
    with httpx.Client(base_url=base_url, timeout=min(timeout, 30.0), trust_env=False) as client:
        while True:
            client.headers.update(authorization(base_url))  # it may come with the endpoint's note
            try:
                served = client.get(f"/v1/models/{tag if candidate else name}").raise_for_status().json()
                if served.get("version") != version:
                    problem = f"the endpoint serves version {served.get('version')}, not {version}"
                elif (found := _ask(client, tag, served, bundle)) is None:  # this version, whatever is tried
                    return
                else:
                    problem = found
            except httpx.HTTPStatusError as error:
                problem = f"{error.request.url.path} answers {error.response.status_code}"
            except httpx.HTTPError as error:
                problem = f"{base_url}: {str(error) or type(error).__name__}"
            except (ValueError, KeyError, IndexError, TypeError) as error:
                problem = f"the answer is not what OpenAI's schema says: {error!r}"
            if time.monotonic() >= give_up:
                raise MetrolineError(problem)
            time.sleep(0.2)


def _ask(client: "httpx.Client", tag: str, served: dict[str, Any], bundle: Path) -> str | None:
    """What is wrong with the answers; None: nothing."""
    signature = Signature.load(bundle / FILE) if (bundle / FILE).is_file() else None
    if signature is None or signature.engine == "decode":
        request = {"model": tag, "prompt": "a", "max_tokens": 4, "temperature": 0}
        choice = client.post("/v1/completions", json=request).raise_for_status().json()["choices"][0]
        if choice["finish_reason"] in ("length", "stop") and isinstance(choice["text"], str):
            return None
        return f"a completion ends with {choice['finish_reason']!r}"
    if signature.engine == "retrieve":
        return _search(client, tag, bundle)
    for number, item in enumerate(golden.load(bundle, signature)):
        body, kind = golden.request(signature, item)
        answer = client.post(f"/v1/models/{tag}/predict", content=body, headers={"Content-Type": kind})
        got = golden.answers(signature, answer.raise_for_status().json())
        if problem := golden.compare(signature, item, got, str(served.get("precision", "fp32"))):
            return f"golden item {number} is answered otherwise than by the trained model: {problem}"
    return None


def _search(client: "httpx.Client", tag: str, bundle: Path) -> str | None:
    """What is wrong with the passages that an index finds; None: nothing."""
    from data.index import golden as queries

    for each in queries.load(bundle):
        request = {"model": tag, "query": each.query, "mode": each.mode, "k": queries.KEPT}
        found = client.post("/v1/search", json=request).raise_for_status().json()["data"]
        if problem := queries.compare(each, found):
            return f"a golden {problem}"
    return None
