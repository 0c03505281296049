"""Pages of other origins: what they are told, and OpenAI's JavaScript client in one of them, in a real browser."""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from serving.http.access import Access
from serving.http.keys import KeyRing
from serving.http.settings import Settings
from tests.serving import chat_bundle, clients
from tests.serving.web import npm
from tests.serving.web.browser import CHROMIUM, Browser

BODY = {"prompt": "the", "max_tokens": 4}
CLIENT = "openai", "7.59.0"
DESKTOP = ["app://obsidian.md", "vscode-webview://1a2b", "chrome-extension://abcdef", "tauri://localhost", "null",
           "http://localhost:5173"]  # fmt: skip
WISHES = "authorization,content-type,x-stainless-lang,x-of-a-later-version"
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": WISHES}
READABLE = "X-Request-Id, Retry-After, X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests"


def headers(answer: httpx.Response) -> dict[str, str]:
    """Those that say what a page may do, and on what that depends."""
    return {name: value for name, value in answer.headers.items() if name == "vary" or name.startswith("access-")}


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    ring = KeyRing(tmp_path_factory.mktemp("keys") / "keys.json")
    return ring.add("page"), ring.path


@pytest.fixture(scope="module")
def guarded(bundle, serve, key):
    return serve(bundle, keys=str(key[1]), cors=f"https://app.example,{','.join(DESKTOP)}")


@pytest.fixture
def client(guarded):
    with clients.http(guarded) as made:
        yield made


@pytest.mark.parametrize("origin", ["https://app.example", *DESKTOP])
def test_an_allowed_origin(client, key, origin):
    """It may send every header that it asks for, and read every answer, also one that refuses."""
    asked = client.options("/v1/chat/completions", headers=ASKED | {"Origin": origin})
    assert (asked.status_code, asked.content) == (204, b"")
    assert headers(asked) == {
        "access-control-allow-origin": origin,
        "access-control-allow-headers": WISHES,
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-expose-headers": READABLE,
        "access-control-max-age": "600",
        "vary": "Origin, Access-Control-Request-Headers",
    }  # fmt: skip
    for bearer, status in ((key[0], 200), ("wrong", 401)):
        given = {"Authorization": f"Bearer {bearer}", "Origin": origin}
        answer = client.post("/v1/completions", json=BODY, headers=given)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", [
    "https://app.example.evil", "https://evil.example", "http://app.example", "https://app.example:8443", "app://other",
    "tauri://localhost.evil", "", "*",
])  # fmt: skip
def test_another_origin(client, key, origin):
    given = {"Authorization": f"Bearer {key[0]}", "Origin": origin}
    for answer in (client.options("/v1/completions", headers=ASKED | given), client.get("/v1/models", headers=given)):
        assert headers(answer) in ({"vary": "Origin"}, {})


def test_nobody_by_default(server):
    asked = ASKED | {"Origin": "null"}
    assert headers(httpx.options(f"{server.url}/v1/completions", headers=asked, trust_env=False)) == {}


def granted(setting: str, origin: bytes) -> bytes | None:
    access = Access(Settings.from_environment({"METROLINE_CORS": setting}))
    return dict(access.cors({b"origin": origin})).get(b"access-control-allow-origin")


def test_origins_are_meant_as_browsers_write_them():
    assert granted("HTTPS://App.Example:443 , http://a:80", b"https://app.example") == b"https://app.example"
    assert granted("https://b,http://a:80", b"http://a") == b"http://a"
    assert granted("https://a:80", b"https://a") is None
    assert granted("http://[::1]:5173", b"http://[::1]:5173") == b"http://[::1]:5173"
    assert granted("*", b"app://x") == b"*"


# --- in a browser ---


class Files(SimpleHTTPRequestHandler):
    """Scripts that a page of any origin may load. With ?sandbox a page has no origin: browsers write null."""

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        if self.path.endswith("?sandbox"):
            self.send_header("Content-Security-Policy", "sandbox allow-scripts")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


PAGE = '<!doctype html><body data-state="ready"></body>'
USE = """(async () => {
  const { OpenAI } = await import(%(scripts)s + "/index.mjs");
  const client = new OpenAI({ apiKey: %(key)s, baseURL: %(url)s, maxRetries: 0, dangerouslyAllowBrowser: true });
  const messages = [{ role: "user", content: "hello" }];
  const wanted = { model: "talker", messages, max_tokens: 8, temperature: 0 };
  const ask = (more) => client.chat.completions.create({ ...wanted, ...more });
  try {
    const whole = await ask({});
    let streamed = "";
    for await (const chunk of await ask({ stream: true })) streamed += chunk.choices[0]?.delta.content ?? "";
    const again = await ask({ messages: [...messages, whole.choices[0].message, ...messages] });
    const wrong = await ask({ model: "nobody" }).catch((error) => error.status);
    return { text: whole.choices[0].message.content, streamed, id: whole._request_id, again: again.usage.prompt_tokens,
             models: (await client.models.list()).data.map((each) => each.id), wrong };
  } catch (error) { return { error: error.constructor.name, status: error.status ?? null }; }
})()"""


@pytest.fixture(scope="module")
def scripts(request, tmp_path_factory):
    """Where OpenAI's client is, beside an empty page."""
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium")
    folder = npm.unpacked(*CLIENT, request.config.cache.mkdir("npm"))
    (folder / "page.html").write_text(PAGE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder))) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.fixture(scope="module")
def talker(tmp_path_factory, serve, scripts, key):
    folder = chat_bundle.build(tmp_path_factory.mktemp("talker") / "bundle")
    return serve(folder, keys=str(key[1]), cors=f"null,{scripts}")


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def use(browser: Browser, scripts: str, talker, key: str) -> dict:
    values = {"scripts": scripts, "url": f"{talker.url}/v1", "key": key}
    return browser.run(USE % {name: json.dumps(value) for name, value in values.items()})


@pytest.mark.browser
@pytest.mark.network
@pytest.mark.parametrize("page", ["page.html", "page.html?sandbox"], ids=["site", "null"])
def test_openai_client_in_a_page(browser, scripts, talker, key, page):
    browser.open(f"{scripts}/{page}")
    assert (browser.run("origin") == "null") == page.endswith("sandbox")
    got = use(browser, scripts, talker, key[0])
    said = chat_bundle.said(24, 8)
    # the first turn's 24 tokens, its answer's bytes with an end and a line, and the second turn's
    again = 24 + len(said.encode()) + 2 + 1 + len("user\nhello\n") + 1 + 1 + len("assistant\n")
    assert got == {
        "text": said,
        "streamed": said,
        "id": got.get("id"),
        "again": again,
        "models": ["talker"],
        "wrong": 404,
    }
    assert got["id"].startswith("req-")
    assert use(browser, scripts, talker, "wrong") == {"error": "AuthenticationError", "status": 401}


@pytest.mark.browser
@pytest.mark.network
def test_openai_client_in_a_page_of_another_origin(browser, scripts, talker, key):
    browser.open(scripts.replace("127.0.0.1", "localhost") + "/page.html")
    assert use(browser, scripts, talker, key[0]) == {"error": "APIConnectionError", "status": None}
