"""What the tests of the playground's predict page do with it, and what it is given."""

import json
import shutil
import subprocess

import httpx
import pytest

from tests.serving.web.browser import CHROMIUM, Browser

KINDS = ("flower", "price", "shapes", "mood", "vector", "birds", "grid", "sum", "ahead", "halves", "things", "blank",
         "tiny")  # fmt: skip
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")


def shown(page: Browser, server, model: str) -> None:
    page.open(f"{server.url}/?model={model}")
    page.until(lambda: page.state() == "idle")
    assert page.run("document.getElementById('models').value") == model


def write(page: Browser, selector: str, value: object, event: str = "input") -> None:
    page.run(f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('{event}', {{bubbles: true}})) }})"
             f"(document.querySelector({json.dumps(selector)}))")  # fmt: skip


def ask(page: Browser, end: str = "done") -> None:
    page.run("document.body.dataset.state = 'idle'")
    page.click("#ask")
    page.until(lambda: page.state() == end)


def said(server, model: str, raw: bytes | dict, kind: str = "application/json"):
    """What the endpoint answers to the same."""
    content = raw if isinstance(raw, bytes) else json.dumps(raw)
    answer = httpx.post(f"{server.url}/v1/models/{model}/predict", content=content, headers={"Content-Type": kind},
                        timeout=20, trust_env=False)  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.json()


def bars(page: Browser) -> list[tuple[str, str]]:
    found = page.run("[...document.querySelectorAll('.bars li')].map(e => [e.children[0].textContent, "
                     "e.children[2].textContent])")  # fmt: skip
    return [tuple(each) for each in found]


def worded(labels) -> list[tuple[str, str]]:
    return [(each["label"], f"{100 * each['score']:.1f} %") for each in labels]


def from_terminal(page: Browser, folder) -> object:
    """What the line for a terminal answers, run as it stands."""
    command = page.run("document.getElementById('predict-curl').textContent")
    done = subprocess.run(["sh", "-c", command.replace("curl ", "curl -s --noproxy '*' ")], cwd=folder,
                          capture_output=True, text=True, timeout=30)  # fmt: skip
    return json.loads(done.stdout)
