"""The playground page in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from serving.app.run import Server
from serving.http.keys import KeyRing
from tests.serving import chat_bundle
from tests.serving.clients import metric
from tests.serving.tiny_bundle import SCRIPT
from tests.serving.web.browser import CHROMIUM, Browser
from tests.serving.web.reverse_proxy import below

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]


@contextmanager
def opened(browser: Browser, server: Server) -> Iterator[Browser]:
    """The page of a server; afterwards nothing complained, and nobody else was asked for anything."""
    with opened_at(browser, f"{server.url}/"):
        yield browser


@contextmanager
def opened_at(browser: Browser, address: str) -> Iterator[None]:
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(address)
    yield
    assert browser.complaints == []
    assert all(url.startswith((address, "data:", "blob:")) for url in browser.requests)


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture
def page(browser, scripted_server):
    with opened(browser, scripted_server):
        yield browser


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
    before = metric(scripted_server, "metroline_cancelled_total")
    set_field(page, "max_tokens", 1000)
    page.type("x")
    page.press("Enter", control=True)
    page.until(lambda: page.run("document.getElementById('tokens').textContent") not in ("–", "1"))
    assert page.state() == "running"
    page.press("Escape")
    page.until(lambda: page.state() == "stopped")
    assert page.text("#reason") == "you"
    page.until(lambda: metric(scripted_server, "metroline_cancelled_total") == before + 1)
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


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """A chat model, slow enough to be stopped."""
    folder = tmp_path_factory.mktemp("talker") / "bundle"
    return chat_bundle.build(folder, context=1024, max_tokens=900, delay_nodes=16)


@pytest.fixture(scope="module")
def chat_server(talker, serve):
    return serve(talker)


@pytest.fixture
def chat(browser, chat_server):
    with opened(browser, chat_server):
        yield browser


def messages(page: Browser) -> list[list[str]]:
    return page.run("[...document.querySelectorAll('#text .message')].map(e => [e.classList[1], e.textContent])")


def say(page: Browser, text: str) -> None:
    page.run("document.getElementById('prompt').focus()")
    page.type(text)
    page.press("Enter")
    page.until(lambda: page.state() == "done")


def test_a_chat(chat):
    """Two turns: the second one's prompt holds the first, with its answer."""
    assert chat.run("document.body.dataset.mode") == "chat"
    assert chat.run("document.activeElement.id") == "prompt"
    set_field(chat, "temperature", 0)
    set_field(chat, "max_tokens", 20)
    say(chat, "hello")
    first = chat_bundle.said(24, 20)
    assert messages(chat) == [["user", "hello"], ["assistant", first]]
    assert chat.run("document.getElementById('prompt').value") == ""
    assert int(chat.text("#speed")) > 0
    say(chat, "and?")
    # the first turn's 24 tokens, its answer's bytes with an end and a line, and the second turn's
    prompt = 24 + len(first.encode()) + 2 + 2 + len("user\nand?\n") + 1 + len("assistant\n")
    assert messages(chat)[2:] == [["user", "and?"], ["assistant", chat_bundle.said(prompt, 20)]]
    chat.press("Enter", alt=True)  # another answer to the same
    chat.until(lambda: chat.state() == "done")
    assert len(messages(chat)) == 4
    set_field(chat, "system", "be brief")
    assert '"role":"system"' in chat.run("document.getElementById('curl').textContent")
    assert "/v1/chat/completions" in chat.run("document.getElementById('curl').textContent")
    chat.click("#clear")
    assert messages(chat) == []


def test_a_chat_is_stopped(chat, chat_server):
    before = metric(chat_server, "metroline_cancelled_total")
    set_field(chat, "max_tokens", 900)
    chat.type("hello")
    chat.press("Enter")
    chat.until(lambda: len(messages(chat)) == 2 and len(messages(chat)[1][1]) > 3)
    chat.press("Escape")
    chat.until(lambda: chat.state() == "stopped")
    chat.until(lambda: metric(chat_server, "metroline_cancelled_total") == before + 1)
    assert messages(chat)[1][1]  # what came stays


def test_a_refused_message_goes_back_to_its_box(chat):
    chat.type("x" * 1100)
    chat.press("Enter")
    chat.until(lambda: chat.state() == "failed")
    assert "maximum context length" in chat.text("#error")
    assert messages(chat) == []
    assert chat.run("document.getElementById('prompt').value") == "x" * 1100
    chat.complaints.clear()  # the browser reports the 400 as well


def test_probabilities_in_a_chat(chat):
    set_field(chat, "max_tokens", 12)
    chat.click("#probabilities")
    say(chat, "hello")
    spans = chat.run("[...document.querySelectorAll('#text .assistant .token')].map(e => e.title)")
    assert len(spans) > 6
    assert all("instead of" in title for title in spans)


def test_several_models_and_a_key(browser, bundle, talker, serve, tmp_path):
    ring = KeyRing(tmp_path / "keys.json")
    key = ring.add("browser")
    server = serve(bundle, talker, keys=str(ring.path))
    browser.open(f"{server.url}/")
    browser.until(lambda: browser.state() == "down")
    assert "API key" in browser.text("#error")
    assert browser.run("document.activeElement.id") == "key"
    browser.type(key)
    browser.run("document.getElementById('key').dispatchEvent(new Event('change'))")
    browser.until(lambda: browser.state() == "idle")
    assert browser.run("[...document.getElementById('models').options].map(o => o.value)") == ["tiny", "talker"]
    assert browser.run("document.body.dataset.mode") == "completion"
    browser.run(
        "(e => { e.value = 'talker'; e.dispatchEvent(new Event('change')) })(document.getElementById('models'))"
    )
    assert browser.run("document.body.dataset.mode") == "chat"
    browser.until(lambda: browser.text("#model-version") and "talker" in browser.run("document.title"))
    say(browser, "hello")
    assert len(messages(browser)) == 2
    browser.run("sessionStorage.clear()")
    browser.complaints.clear()  # the 401


def test_below_a_path_of_a_proxy(browser, scripted_server):
    """The proxy takes the path away; all that the page asks for, and every link of it, lies below that path."""
    with below(scripted_server.url, "/deep/llm/") as address, opened_at(browser, address):
        assert browser.text("#model-name") == "scripted"
        assert browser.run("getComputedStyle(document.querySelector('header')).display") == "flex"
        browser.type("x")
        set_field(browser, "max_tokens", 6)
        browser.press("Enter", control=True)
        browser.until(lambda: browser.state() == "done")
        assert browser.run("document.getElementById('text').textContent") == "xellow "
        assert f"curl {address}v1/completions " in browser.run("document.getElementById('curl').textContent")
        browser.click("#tab-card")
        browser.until(lambda: browser.run("document.querySelector('#card img')?.naturalWidth") == 1)
        browser.until(lambda: browser.run("document.getElementById('curves').hidden") is False)
        links = browser.run("[...document.querySelectorAll('a[href], link[href]')].map(e => e.href)")
        below_it = [link for link in links if link.startswith(address) and "#" not in link]
        assert len(below_it) == len([link for link in links if "#" not in link and "example.org" not in link]) == 7
        assert {httpx.get(link, trust_env=False).status_code for link in below_it} == {200}


def test_nothing_hangs_over_on_a_phone(browser, chat_server):
    browser.send("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    try:
        browser.open(f"{chat_server.url}/")
        for name in ("playground", "card"):
            browser.click(f"#tab-{name}")
            assert browser.run("document.documentElement.scrollWidth") <= 390
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")
