"""The page /status in a real browser: curves of the last minutes, from this endpoint alone."""

import json
import re
import threading
import time

import httpx
import pytest

from serving.http.keys import KeyRing
from serving.runtime.history import EVERY
from tests.serving.forward_bundles import row
from tests.serving.web.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]


def test_the_last_minutes_are_drawn(flower, serve, tmp_path):
    server = serve(flower, feedback=str(tmp_path / "kept"))
    ended = threading.Event()

    def ask():
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            while not ended.wait(0.2):
                answer = client.post("/v1/models/flower/predict", json={"inputs": json.loads(row(1))})
                label = answer.json()[0]["label"]
                client.post("/v1/feedback", json={"id": answer.headers["x-request-id"], "label": label})
                client.post("/v1/models/flower/predict", json={"inputs": {}})

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with Browser(1280, 800) as page:
            page.open(f"{server.url}/status")
            page.until(lambda: page.state() == "idle")
            page.until(lambda: page.run("document.querySelectorAll('path.curve').length") >= 4, 6 * EVERY)
            titles = page.run("[...document.querySelectorAll('h2')].map((each) => each.innerText)")
            shown = page.text("#view-status")
            page.picture(tmp_path / "status.png")
            assert page.complaints == []
            assert all(url.startswith((f"{server.url}/", "data:")) for url in page.requests)
    finally:
        ended.set()
        asking.join()
    assert {"Requests", "Latency", "Failed, refused", "Accuracy by feedback"} <= set(titles)
    assert "Tokens written" not in titles  # a model that writes none
    assert re.search(r"refused 3[1-5](\.\d)? %", shown)
    points = httpx.get(f"{server.url}/status.json", trust_env=False).json()["models"]["flower"]
    assert 5 < points[-1]["requests"] < 15.5
    assert points[-1]["accuracy"] == 1
    assert 0 < points[-1]["p50"] <= points[-1]["p99"]
    assert abs(points[-1]["time"] - time.time()) < 3 * EVERY


def test_it_asks_with_the_key_of_the_playground(flower, serve, tmp_path):
    ring = KeyRing(tmp_path / "keys.json")
    key = ring.add("one")
    server = serve(flower, keys=str(tmp_path / "keys.json"))
    with Browser(1280, 800) as page:
        page.open(f"{server.url}/status")
        page.until(lambda: "asks for an API key" in page.text("#since"))
        page.run(f"sessionStorage.setItem('key', {json.dumps(key)})")
        page.until(lambda: page.state() == "idle", 30)
