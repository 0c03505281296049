"""The playground page in a real browser."""

import httpx
import pytest
from browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed"),
]

SCRIPT = "Fellow citizens: naïve café, 😀 and 漢字; the end. "


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture
def page(browser, scripted_server):
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(f"{scripted_server.url}/")
    yield browser
    assert browser.complaints == []
    assert all(url.startswith((scripted_server.url, "data:", "blob:")) for url in browser.requests)


def cancelled(server) -> float:
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("metroline_cancelled_total"))


def set_field(page: Browser, name: str, value: object) -> None:
    page.run(
        f"(e => {{ e.value = {value!r}; e.dispatchEvent(new Event('input')) }})(document.getElementById('{name}'))"
    )


def test_type_run_and_read(page, scripted_server):
    assert page.text("#model-name") == "scripted"
    assert page.run("document.activeElement.id") == "prompt"
    set_field(page, "max_tokens", len(SCRIPT.encode()) - 2)
    set_field(page, "temperature", 0)
    page.type("x")
    page.press("Enter", control=True)
    page.until(lambda: page.state() == "done")
    assert page.run("document.getElementById('text').textContent") == "x" + SCRIPT[1:-1]
    assert page.text("#reason") == "length"
    assert int(page.text("#tokens")) == len(SCRIPT.encode()) - 2
    assert int(page.text("#speed")) > 0
    page.press("Enter", alt=True)  # continue
    page.until(lambda: page.run("document.getElementById('prompt').value") == "x" + SCRIPT[1:-1])
    page.until(lambda: page.state() == "done")


def test_escape_stops_the_server_too(page, scripted_server):
    before = cancelled(scripted_server)
    set_field(page, "max_tokens", 1000)
    page.type("x")
    page.press("Enter", control=True)
    page.until(lambda: page.run("document.getElementById('tokens').textContent") not in ("–", "1"))
    assert page.state() == "running"
    page.press("Escape")
    page.until(lambda: page.state() == "stopped")
    assert page.text("#reason") == "you"
    page.until(lambda: cancelled(scripted_server) == before + 1)
    assert page.run("document.getElementById('run').disabled") is False


def test_probabilities_are_shown(page):
    set_field(page, "max_tokens", 12)
    page.click("#probabilities")
    page.type("x")
    page.click("#run")
    page.until(lambda: page.state() == "done")
    spans = page.run("[...document.querySelectorAll('#text .token')].map(e => [e.textContent, e.title])")
    assert "".join(text for text, _ in spans) == SCRIPT[1:13]
    assert all("100.0 %" in title and "instead of" in title for _, title in spans)


def test_an_error_is_shown_as_the_server_says_it(page):
    set_field(page, "stops", "a|b|" + "x" * 300)
    page.type("x")
    page.press("Enter", control=True)
    page.until(lambda: page.state() == "failed")
    assert page.text("#error").startswith("stop ")
    page.complaints.clear()  # the browser reports the 400 as well


def test_markup_in_a_text_stays_text(page):
    page.type("<img src=x onerror=alert(1)><b>bold</b>")
    set_field(page, "max_tokens", 5)
    page.press("Enter", control=True)
    page.until(lambda: page.state() == "done")
    assert page.run("document.querySelectorAll('#text b, #text img').length") == 0
    assert "<b>bold</b>" in page.text("#text")


def test_card_and_curves(page):
    page.click("#tab-card")
    page.until(lambda: page.run("document.querySelectorAll('#card table tr').length") == 2)
    assert page.text("#card h1") == "scripted"
    assert page.run("document.querySelector('#card a').href") == "https://example.org/"
    assert page.run("[...document.querySelectorAll('#card li')].map(e => e.textContent)") == ["one", "two"]
    page.until(lambda: page.run("document.querySelector('#card img').naturalWidth") == 1)
    page.until(lambda: page.run("document.getElementById('curves').hidden") is False)
    assert page.run("document.getElementById('view-playground').hidden")


def test_address_parameters_run_at_once(page, scripted_server):
    page.open(f"{scripted_server.url}/?prompt=x&max_tokens=6&temperature=0&run=1")
    page.until(lambda: page.state() == "done")
    assert page.run("document.getElementById('text').textContent") == "xellow "


def test_light_and_dark(page, tmp_path):
    scheme = "getComputedStyle(document.documentElement).colorScheme"
    first, picture = page.run(scheme), page.picture(tmp_path / "1.png")
    page.click("#theme")
    assert {first, page.run(scheme)} == {"light", "dark"}
    assert page.picture(tmp_path / "2.png") != picture
    assert len(picture) > 10_000
