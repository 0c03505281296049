"""Many clients of models that answer in one call: no wrong answer, none lost; overload is a 429, never a time-out."""

import asyncio
import json
import random
import time
from collections import Counter

import httpx
import numpy as np

from tests.serving import forward_bundles
from tests.serving.forward_bundles import FLOWER, SHAPES, expected, picture, row

CLIENTS, SECONDS, ITEMS = 64, 4.0, 24


def known(flower, shapes):
    """Every request that is sent, with the scores that it must get, in the labels' order."""
    made = []
    for seed in range(ITEMS):
        raw = picture(seed, ("PNG", "JPEG")[seed % 2], (12 + 3 * seed, 40))
        made.append(("flower", row(seed), "application/json", expected(flower, FLOWER, (row(seed),))[0]))
        made.append(("shapes", raw, "image/*", expected(shapes, SHAPES, (raw,))[0]))
    return made


async def crowd(url, requests, seconds):
    statuses: Counter[int] = Counter()
    problems: list[str] = []
    texts: dict[int, set[str]] = {}

    async def client(number, http, end):
        dice = random.Random(number)
        while time.monotonic() < end:
            index = dice.randrange(len(requests))
            model, raw, kind, wanted = requests[index]
            body = b'{"inputs": ' + raw + b"}" if kind.endswith("json") else raw
            answer = await http.post(f"/v1/models/{model}/predict", content=body, headers={"Content-Type": kind})
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                problems.extend(wrong(answer.json(), LABELS[model], wanted))
                texts.setdefault(index, set()).add(answer.text)
            else:
                problems.append(answer.text)

    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=LIMITS) as http:
        end = time.monotonic() + seconds
        await asyncio.gather(*(client(number, http, end) for number in range(CLIENTS)))
    return statuses, problems, texts


def wrong(answer, labels, wanted):
    """The answer, where it is not the expected one."""
    found = {each["label"]: each["score"] for each in answer}
    return [] if np.allclose([found[label] for label in labels], wanted, atol=1e-5) else [str(answer)]


LIMITS = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
LABELS = {"flower": FLOWER.outputs[0].labels, "shapes": SHAPES.outputs[0].labels}


def metric(url, name, model):
    lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines
               if line.startswith(name + "{") and f'model="{model}"' in line)  # fmt: skip


def test_sixty_four_clients(flower, shapes, serve):
    server = serve(flower, shapes)
    statuses, problems, texts = asyncio.run(crowd(server.url, known(flower, shapes), SECONDS))
    assert problems == []
    assert set(statuses) == {200}
    assert statuses[200] >= CLIENTS
    assert {len(each) for each in texts.values()} == {1}  # the same to the last digit, whoever shared the batch
    sent = sum(metric(server.url, "metroline_batch_size_sum", name) for name in LABELS)
    assert sent == statuses[200]
    assert sum(metric(server.url, "metroline_compute_seconds_count", name) for name in LABELS) <= sent
    assert metric(server.url, "metroline_active_streams", "flower") == 0


def test_overload(tmp_path, serve):
    """A slow model with a short queue, and requests of many items: the surplus is sent away at once."""
    folder = forward_bundles.table(tmp_path / "slow", "flower", delay=10)
    server = serve(folder, queue="8")
    rows = [json.loads(row(seed)) for seed in range(16)]
    wanted = [expected(folder, FLOWER, (row(seed),))[0] for seed in range(16)]
    statuses: Counter[int] = Counter()
    problems: list[str] = []

    async def client(http):
        for _ in range(3):
            answer = await http.post("/v1/models/flower/predict", json={"inputs": rows})
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                for found, scores in zip(answer.json(), wanted, strict=True):
                    problems.extend(wrong(found, LABELS["flower"], scores))
            elif answer.status_code == 429:
                if answer.json()["error"]["code"] != "queue_full" or int(answer.headers["retry-after"]) < 1:
                    problems.append(answer.text)
                await asyncio.sleep(0.02)

    async def all_of_them():
        async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False, limits=LIMITS) as http:
            await asyncio.gather(*(client(http) for _ in range(CLIENTS)))

    asyncio.run(all_of_them())
    assert problems == []
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 10
    assert metric(server.url, "metroline_active_streams", "flower") == 0


def test_a_bundle_that_forgot_its_golden_answers_is_not_ready(tmp_path, serve):
    folder = forward_bundles.image(tmp_path / "bundle")
    forward_bundles.image_graphs(folder, "nearest")
    forward_bundles.reseal(folder)
    server = serve(folder, ready=False)
    end = time.monotonic() + 30
    while "model not loaded" not in server.log.read_text() and time.monotonic() < end:
        time.sleep(0.1)
    (line,) = [json.loads(each) for each in server.log.read_text().splitlines() if '"model not loaded"' in each]
    assert "golden item 0: label: " in line["problem"]
    assert "expected" in line["problem"]
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 503
    assert httpx.get(f"{server.url}/v2/health/ready", trust_env=False).status_code == 503


def test_keys_and_limits_are_those_of_text(flower, serve):
    server = serve(flower, auth="on")
    for path in ("/v1/models/flower/predict", "/v2/models/flower/infer"):
        answer = httpx.post(f"{server.url}{path}", json={"inputs": []}, trust_env=False)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json() == {"error": "Send an API key, as in Authorization: Bearer KEY."}
    for path, status in (("/v2", 401), ("/v2/models/flower", 401), ("/v2/health/ready", 200), ("/v2/health/live", 200)):
        assert httpx.get(f"{server.url}{path}", trust_env=False).status_code == status
