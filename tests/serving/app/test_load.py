"""Two thousand requests of every kind from sixty-four clients; and more than the server can take.

What each must be answered is known before: the talker says its script, and the random model is greedy.
"""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field

import httpx
import psutil
import pytest

from serving.app.run import Server
from tests.serving import chat_bundle, tiny_bundle

REQUESTS, CLIENTS = 2000, 64
LEAVING, MALFORMED = 0.10, 0.05
GAUGES = ("running_sequences", "kv_tokens_used", "active_streams", "queued_requests")
PROMPTS = ["the people", "of the union", "naïve", "state of the", "a", "the government of the united states"]
WRONG = [
    {"prompt": "a", "max_tokens": -1}, {"prompt": ""}, {"prompt": "a", "model": "gpt-4"}, {"prompt": "x" * 5000},
    {"messages": []}, {"messages": [{"role": "king", "content": "a"}]}, {"messages": [{"role": "user", "content": 5}]},
    {"prompt": "a\x00"}, {"prompt": "a", "response_format": {"type": "regex", "regex": "("}}, "no JSON",
]  # fmt: skip


@dataclass
class Result:
    """What came of the requests."""

    answered: int = 0
    left: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)


def gauges(server: Server) -> Counter[str]:
    """The gauges that must come back to nothing, summed over models."""
    found: Counter[str] = Counter()
    for line in httpx.get(f"{server.url}/metrics", timeout=20, trust_env=False).text.splitlines():
        name = line.split("{")[0].removeprefix("metroline_")
        if name in GAUGES:
            found[name] += int(float(line.rsplit(" ", 1)[1]))
    return found


def memory(server: Server) -> int:
    """Resident bytes of the workers."""
    family = psutil.Process(server.process.pid).children(recursive=True)
    return sum(each.memory_info().rss for each in family if "_bentoml_impl.worker.service" in " ".join(each.cmdline()))


async def streamed(client: httpx.AsyncClient, path: str, body: dict, *, leave: bool = False) -> str | None:
    """The text of a stream; None when it was left after its first event."""
    text, ended = "", False
    async with client.stream("POST", path, json=body | {"stream": True}) as answer:
        if answer.status_code != 200:
            await answer.aread()
            raise AssertionError(f"{answer.status_code} {answer.text}")
        async for line in answer.aiter_lines():
            if leave and line:
                return None
            if line == "data: [DONE]":
                ended = True
            elif line:
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                for choice in event["choices"]:
                    text += choice["text"] if "text" in choice else choice["delta"].get("content", "")
    assert ended, f"the stream ended early, after {text!r}"
    return text


async def one(client: httpx.AsyncClient, dice: random.Random, known: dict[str, str], result: Result) -> None:
    """One request of a random kind, its answer checked."""
    chance = dice.random()
    tokens = dice.randint(1, 40)
    hello = "h" * dice.randint(1, 60)
    chat = {"model": "talker", "messages": [{"role": "user", "content": hello}], "max_tokens": tokens, "temperature": 0}
    said = chat_bundle.said(19 + len(hello), tokens)
    if chance < MALFORMED:
        body = dice.choice(WRONG)
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        answer = await client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 404), answer.text
        assert answer.json()["error"]["message"]
        result.refused += 1
    elif chance < MALFORMED + LEAVING:
        chat["max_tokens"] = 200
        assert await streamed(client, "/v1/chat/completions", chat, leave=True) is None
        result.left += 1
    elif chance < 0.45:
        answer = await client.post("/v1/chat/completions", json=chat)
        choice = answer.json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (said, "length")
        assert answer.json()["usage"]["completion_tokens"] == tokens
        result.answered += 1
    elif chance < 0.70:
        assert await streamed(client, "/v1/chat/completions", chat) == said
        result.answered += 1
    else:
        prompt = dice.choice(PROMPTS)
        body = {"model": "tiny", "prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
        if chance < 0.85:
            assert await streamed(client, "/v1/completions", body) == known[prompt]
        else:
            answer = await client.post("/v1/completions", json=body | {"n": 2})
            assert [choice["text"] for choice in answer.json()["choices"]] == [known[prompt]] * 2
        result.answered += 1


async def crowd(url: str, count: int, known: dict[str, str], seed: int) -> Result:
    """CLIENTS clients share `count` requests."""
    result, left = Result(), iter(range(count))

    async def client(number: int) -> None:
        dice = random.Random(seed * 1000 + number)
        async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
            for _ in left:
                try:
                    await one(http, dice, known, result)
                except Exception as problem:
                    result.problems.append(f"{type(problem).__name__}: {problem}"[:300])

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return result


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, serve):
    folder = tmp_path_factory.mktemp("load")
    # fp32: dynamically quantized, this tiny model's rows would depend on each other
    return serve(tiny_bundle.build(folder / "tiny"), chat_bundle.build(folder / "talker"), queue="128")


def test_two_thousand_requests(loaded):
    known = {}
    for prompt in PROMPTS:
        body = {"model": "tiny", "prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
        answer = httpx.post(f"{loaded.url}/v1/completions", json=body, timeout=30, trust_env=False)
        known[prompt] = answer.json()["choices"][0]["text"]
    warm = asyncio.run(crowd(loaded.url, 1000, known, seed=1))
    assert warm.problems == []
    before = memory(loaded)
    result = asyncio.run(crowd(loaded.url, REQUESTS, known, seed=2))
    assert result.problems == []
    assert result.answered + result.left + result.refused == REQUESTS
    assert result.left / REQUESTS == pytest.approx(LEAVING, abs=0.03)
    assert result.refused / REQUESTS == pytest.approx(MALFORMED, abs=0.02)
    for _ in range(100):
        if not any(gauges(loaded).values()):
            break
        asyncio.run(asyncio.sleep(0.1))
    assert dict(gauges(loaded)) == dict.fromkeys(GAUGES, 0)
    assert memory(loaded) / before < 1.05


def test_overload(tmp_path, serve):
    """Four times as many clients as may run and wait: the surplus is sent away politely, the rest answered."""
    server = serve(chat_bundle.build(tmp_path / "slow", delay_nodes=4), slots="4", queue="4")
    statuses: Counter[int] = Counter()
    problems: list[str] = []

    async def client() -> None:
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 30, "temperature": 0}
        async with httpx.AsyncClient(base_url=server.url, timeout=120, trust_env=False) as http:
            for _ in range(6):
                answer = await http.post("/v1/chat/completions", json=body)
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    if answer.json()["choices"][0]["message"]["content"] != chat_bundle.said(24, 30):
                        problems.append(answer.text)
                elif answer.status_code == 429:
                    error = answer.json()["error"]
                    if error["code"] != "queue_full" or not 1 <= int(answer.headers["retry-after"]) <= 60:
                        problems.append(answer.text)
                    await asyncio.sleep(0.1)

    async def all_of_them() -> None:
        await asyncio.gather(*(client() for _ in range(4 * (4 + 4))))

    asyncio.run(all_of_them())
    assert problems == []
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 12
    assert gauges(server)["queued_requests"] == 0
