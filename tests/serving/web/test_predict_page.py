"""The playground of models that answer in one call, in a real browser: a widget a kind of input, an answer a kind of
output, and a line for a terminal that says the same."""

import base64
import json
import shutil
import subprocess

import httpx
import numpy as np
import pytest

from serving.http.keys import KeyRing
from tests.serving import forward_bundles
from tests.serving.web import more_bundles
from tests.serving.web.browser import CHROMIUM, Browser
from tests.serving.web.reverse_proxy import below

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]
KINDS = ("flower", "price", "shapes", "mood", "vector", "birds", "grid", "sum", "ahead", "halves", "things", "blank",
         "tiny")  # fmt: skip
GIVEN = {
    "mood": "of the people",
    "blank": "of the [MASK]",
    "vector": "people",
    "sum": "1 2",
    "grid": "1,2\n" * 24,
    "ahead": "1,2\n" * 24,
}


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, bundle, serve):
    """One server with a model of every kind of input and output."""
    root, made = tmp_path_factory.mktemp("kinds"), forward_bundles
    return serve(
        made.table(root / "flower"), made.table(root / "price", "price", made.PRICE), made.image(root / "shapes"),
        made.texts(root / "mood"), made.texts(root / "vector", "vector", made.VECTOR),
        more_bundles.sounds(root / "birds"), more_bundles.series(root / "grid"), more_bundles.vectors(root / "sum"),
        more_bundles.forecasts(root / "ahead"), more_bundles.masks(root / "halves"),
        more_bundles.things(root / "things"), made.texts(root / "blank", "blank", made.BLANK),
        bundle,
    )  # fmt: skip


@pytest.fixture
def page(browser, kinds):
    """Afterwards nothing complained, and nobody else was asked for anything."""
    browser.requests.clear()
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []
    assert all(url.startswith((f"{kinds.url}/", "data:", "blob:")) for url in browser.requests)


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


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")


@needs_curl
def test_a_table(page, kinds, tmp_path):
    """The form begins with the examples of the signature; its row is answered by bars, the answer first."""
    shown(page, kinds, "flower")
    fields = "[...document.querySelectorAll('.columns label')].map(e => [e.firstChild.textContent, e.lastChild.value])"
    assert page.run(fields) == [["age", "40"], ["income", "1000"], ["city", "Ulm"]]
    assert page.run("[...document.querySelectorAll('.columns option')].map(e => e.value)") == ["", "Bonn", "Ulm"]
    ask(page)
    wanted = said(kinds, "flower", {"inputs": {"age": 40, "income": 1000, "city": "Ulm"}})
    assert bars(page) == worded(wanted)
    assert page.run("document.querySelector('.bars .chosen .name').textContent") == wanted[0]["label"]
    assert page.text("#took").endswith(" ms")
    write(page, ".columns input", "")  # age: none
    write(page, ".columns select", "Bonn", "change")
    page.run("document.querySelector('.columns select').dispatchEvent(new Event('input'))")
    ask(page)
    wanted = said(kinds, "flower", {"inputs": {"age": None, "income": 1000, "city": "Bonn"}})
    assert bars(page) == worded(wanted)
    assert from_terminal(page, tmp_path) == wanted


def test_a_number(page, kinds):
    shown(page, kinds, "price")
    ask(page)
    price = said(kinds, "price", {"inputs": {"age": 40, "income": 1000, "city": "Ulm"}})["price"]
    assert page.text(".numbers dt") == "price"
    assert float(page.text(".numbers dd").replace(",", "")) == pytest.approx(price, rel=1e-5)


def test_what_is_missing_is_one_line(page, kinds):
    shown(page, kinds, "flower")
    page.run("document.querySelectorAll('.columns input')[1].value = ''")
    write(page, ".columns input", "40")
    ask(page, "failed")
    assert "income: a value is needed" in page.text("#predict-error")
    assert "\n" not in page.text("#predict-error")
    page.complaints.clear()  # the browser reports the 400 as well


@needs_curl
def test_an_image(page, kinds, tmp_path):
    """Chosen, pasted and dropped: the file goes as it is."""
    shown(page, kinds, "shapes")
    assert page.run("document.getElementById('ask').disabled")
    raw = forward_bundles.picture(3, size=(300, 200))
    (tmp_path / "it's a cat.png").write_bytes(raw)
    page.choose(".drop input", tmp_path / "it's a cat.png")
    page.until(lambda: page.run("document.querySelector('.drop img').naturalWidth") == 300)
    ask(page)
    wanted = said(kinds, "shapes", raw, "image/png")
    assert bars(page) == worded(wanted)
    assert from_terminal(page, tmp_path) == wanted
    assert "300 × 200 pixels. The model sees 8 × 8" in page.text(".hint")
    for event, carrier in (("paste", "ClipboardEvent"), ("drop", "DragEvent")):
        raw = forward_bundles.picture(len(event), "JPEG")
        field = "clipboardData" if event == "paste" else "dataTransfer"
        page.run(f"""(() => {{
            const bytes = Uint8Array.from(atob('{base64.b64encode(raw).decode()}'), c => c.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], 'x.jpg', {{type: 'image/jpeg'}}));
            const made = new {carrier}('{event}', {{bubbles: true, {field}: carried}});
            document.querySelector('.drop').dispatchEvent(made);
        }})()""")
        ask(page)
        assert bars(page) == worded(said(kinds, "shapes", raw, "image/jpeg"))


def test_a_file_that_is_no_image(page, kinds, tmp_path):
    shown(page, kinds, "shapes")
    (tmp_path / "x.gif").write_bytes(b"GIF89a")
    page.choose(".drop input", tmp_path / "x.gif")
    page.until(lambda: page.run("document.getElementById('ask').disabled") is False)
    ask(page, "failed")
    assert "GIF" in page.text("#predict-error")
    page.complaints.clear()  # the browser reports the 400 as well


def test_a_text(page, kinds):
    shown(page, kinds, "mood")
    text = "it's <b>the</b> people"
    write(page, "#inputs textarea", text)
    page.run("document.querySelector('#inputs textarea').focus()")
    page.press("Enter", control=True)
    page.until(lambda: page.state() == "done")
    assert bars(page) == worded(said(kinds, "mood", {"inputs": text})[0])
    write(page, "#inputs textarea", "   ")
    assert page.run("document.getElementById('ask').disabled")


def test_a_blank(page, kinds):
    """The page says how a text is written, shows as many answers as the signature says, and what is refused."""
    shown(page, kinds, "blank")
    assert (
        page.run("document.querySelector('#inputs textarea').placeholder") == "Write or paste a text with one [MASK]."
    )
    assert page.text("#inputs .hint") == "Up to 100 tokens with one [MASK]."
    write(page, "#inputs textarea", "of the [MASK]")
    ask(page)
    wanted = said(kinds, "blank", {"inputs": "of the [MASK]"})[0]
    assert len(wanted) == 1
    assert bars(page) == worded(wanted)
    write(page, "#inputs textarea", "of the people")
    ask(page, "failed")
    assert "no [MASK] in the text" in page.text("#predict-error")
    page.complaints.clear()  # the browser reports the 400 as well


def test_a_vector_is_a_plot(page, kinds):
    shown(page, kinds, "vector")
    write(page, "#inputs textarea", "people")
    ask(page)
    wanted = said(kinds, "vector", {"inputs": "people"})
    assert json.loads(page.run("document.querySelector('#answer details pre').textContent")) == wanted
    assert page.run("document.querySelector('#answer path').getAttribute('d').split('L').length") == len(wanted)
    assert page.text("#answer .hint").startswith(f"{len(wanted)} numbers")


@needs_curl
def test_a_sound(page, kinds, tmp_path):
    """Its waveform is drawn, and is the sound's: loud at first, quiet at the end. Of twelve labels ten are shown."""
    shown(page, kinds, "birds")
    (tmp_path / "song.wav").write_bytes(more_bundles.tone(440))
    page.choose(".drop input", tmp_path / "song.wav")
    page.until(lambda: page.run("document.querySelector('.drop canvas').hidden") is False)
    drawn = page.run("""(() => {
        const {data} = document.querySelector('.drop canvas').getContext('2d').getImageData(0, 0, 600, 90);
        const height = x => [...Array(90).keys()].filter(y => data[4 * (600 * y + x) + 3] > 0).length;
        return [height(20), height(590)];
    })()""")
    assert drawn[0] > 60
    assert 2 < drawn[1] < 20
    assert page.text(".hint").startswith("0.50 s.")
    ask(page)
    wanted = said(kinds, "birds", more_bundles.tone(440), "audio/wav")
    assert wanted[0]["label"] == "thrush"
    assert bars(page) == worded(wanted)
    assert page.text("#answer summary") == "2 more"
    assert from_terminal(page, tmp_path) == wanted


def test_the_microphone(page, kinds):
    """The browser's stand-in beeps; what is recorded is a WAV at the model's rate, stopped at the longest clip."""
    shown(page, kinds, "birds")
    page.click(".widget .actions button")
    page.until(lambda: page.run("document.querySelector('.recording') !== null"))
    page.until(lambda: page.text(".hint").startswith("1."))
    page.click(".recording")
    page.until(lambda: page.run("document.querySelector('.drop canvas').hidden") is False)
    assert 0.9 <= float(page.text(".hint").split(" s.")[0]) < 3
    ask(page)
    assert len(bars(page)) == 12
    assert "recording.wav" in page.text("#predict-curl")
    page.click(".widget .actions button")
    page.until(lambda: page.run("document.querySelector('.recording') !== null"))
    page.until(lambda: page.run("document.querySelector('.recording') === null"))  # at 3 s
    page.until(lambda: page.text(".hint").startswith(("2.9", "3.00 s.")))


@needs_curl
def test_a_series(page, kinds, tmp_path):
    """CSV with a head in another order and a column of times; its curves; the answer with its units."""
    shown(page, kinds, "grid")
    rows = more_bundles.history(1, 30)
    csv = "\n".join(["time,wind,load", *(f"{hour}:00,{wind},{load}" for hour, (load, wind) in enumerate(rows))])
    write(page, "#inputs textarea", csv)
    assert page.run("document.querySelectorAll('.chart path').length") == 2
    assert page.run("document.querySelector('.chart .window') !== null")
    ask(page)
    wanted = said(kinds, "grid", {"inputs": rows})
    numbers = page.run("[...document.querySelectorAll('.numbers div')].map(e => e.textContent)")
    assert numbers == [f"{name}{wanted[name]:.6g} MW" for name in more_bundles.HOURS]
    assert page.run("document.querySelectorAll('#answer path').length") == 1
    assert from_terminal(page, tmp_path) == wanted


def test_a_forecast(page, kinds):
    """The end of the history, the mean behind it in a band; another channel by choice; all numbers as a table."""
    shown(page, kinds, "ahead")
    rows = more_bundles.history(1, 24)
    write(page, "#inputs textarea", "\n".join(f"{load},{wind}" for load, wind in rows))
    ask(page)
    wanted = said(kinds, "ahead", {"inputs": rows})
    assert wanted["load"]["mean"] == pytest.approx([load for load, _ in rows[-3:]], rel=1e-6)
    drawn = "[...document.querySelectorAll('#answer path')].map(e => [e.getAttribute('class'), e.getAttribute('d')])"
    (band, outline), (first, past), (second, mean) = page.run(drawn)
    assert (band, first, second) == ("band curve-1", "curve curve-0", "curve curve-1")
    assert (outline.count("L") + 1, past.count("L") + 1, mean.count("L") + 1) == (8, 24, 4)
    assert past.split("L")[-1] == mean.removeprefix("M").split("L")[0]  # one begins where the other ends
    assert page.text("#answer .hint").startswith("wind: the next 3 steps, 1h apart. The band holds what lies between")
    write(page, "#answer select", "load", "change")
    assert page.text("#answer .hint").startswith("load: ")
    table = page.run("document.querySelector('#answer details pre').textContent").splitlines()
    assert table[0] == "step,load mean,load 0.1,load 0.9,wind mean,wind 0.1,wind 0.9"
    given = [float(cell) for cell in table[3].split(",")]
    numbers = [wanted[channel][level][2] for channel in ("load", "wind") for level in ("mean", "0.1", "0.9")]
    assert given == pytest.approx([3, *numbers], rel=1e-5)


@pytest.mark.parametrize(
    ("csv", "problem"),
    [
        ("1,2\n3,4", "2 steps, and the model looks back 24."),
        ("load,wind\n" + "1,2\n" * 23 + "1,abc", 'Step 24, wind: "abc" is no number.'),
        ("1,2,3,4\n" * 24, "Step 1 has 4 columns; the channels are load, wind."),
    ],
)
def test_a_series_that_is_none(page, kinds, csv, problem):
    shown(page, kinds, "grid")
    write(page, "#inputs textarea", csv)
    assert page.text("#predict-error") == problem
    assert page.run("document.getElementById('ask').disabled")
    write(page, "#inputs textarea", "1,2\n" * 24)
    assert page.run("document.getElementById('predict-error').hidden")


@pytest.mark.parametrize(
    ("csv", "channels", "rows"),
    [
        ("1\n2\n\n3", ["a"], [[1], [2], [3]]),
        ("1, 2, 3", ["a"], [[1], [2], [3]]),
        ("1;2,5\n3;NaN", ["a", "b"], [[1, 2.5], [3, None]]),
        ("2024-01-01,1,2\n2024-01-02,,4", ["a", "b"], [[1, 2], [None, 4]]),
        ('"b"\t"x"\t"a"\n1\t2\t3', ["a", "b"], [[3, 1]]),
        ("when,a\nnoon,1e3", ["a"], [[1000]]),
    ],
)
def test_steps_of_a_csv(page, kinds, csv, channels, rows):
    shown(page, kinds, "grid")
    assert page.run(f"import('./web/series.js').then(m => m.steps({json.dumps(csv)}, {json.dumps(channels)}))") == rows


def test_a_mask_over_its_image(page, kinds, tmp_path):
    """The second label is laid over the image in its colour; another one by a click; areas beside."""
    shown(page, kinds, "halves")
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10] = 255
    (tmp_path / "half.png").write_bytes(forward_bundles.png(pixels))
    page.choose(".drop input", tmp_path / "half.png")
    page.until(lambda: page.run("document.querySelector('.drop img').naturalWidth") == 40)
    ask(page)
    page.until(lambda: page.run("document.querySelector('canvas.mask').dataset.painted") == "1")
    wanted = said(kinds, "halves", (tmp_path / "half.png").read_bytes(), "image/png")
    assert [each["area"] for each in wanted] == [0.75, 0.25]
    rows = page.run("[...document.querySelectorAll('.areas li')].map(e => e.textContent)")
    assert rows == ["dark75.0 %", "bright25.0 %"]
    pixel = "[...document.querySelector('canvas.mask').getContext('2d').getImageData({}, 10, 1, 1).data]"
    assert page.run("[document.querySelector('canvas.mask').width, document.querySelector('canvas.mask').height]") == [
        40,
        20,
    ]
    over, beside = page.run(pixel.format(4)), page.run(pixel.format(30))
    assert over[2] < 150 < over[0]  # white under amber
    assert beside == [0, 0, 0, 255]
    page.click(".areas input")
    page.until(lambda: page.run("document.querySelector('canvas.mask').dataset.painted") == "2")
    assert page.run(pixel.format(30)) != [0, 0, 0, 255]
    page.complaints.clear()  # this test reads the canvas more often than the page does


def test_boxes_over_their_image(page, kinds, tmp_path):
    """In pixels of the image, in the colour of its label, which a click takes away; with how many there are."""
    shown(page, kinds, "things")
    (tmp_path / "white.png").write_bytes(forward_bundles.png(np.full((20, 40, 3), 255, np.uint8)))
    page.choose(".drop input", tmp_path / "white.png")
    page.until(lambda: page.run("document.querySelector('.drop img').naturalWidth") == 40)
    ask(page)
    page.until(lambda: page.run("document.querySelector('canvas.mask').dataset.painted") == "2")
    wanted = said(kinds, "things", (tmp_path / "white.png").read_bytes(), "image/png")
    assert [(each["label"], each["box"]["xmin"], each["box"]["ymax"]) for each in wanted] == [
        ("dog", 10, 10),
        ("cat", 0, 20),
    ]
    rows = page.run("[...document.querySelectorAll('.areas li')].map(e => e.textContent)")
    assert rows == ["cat1", "dog1"]
    pixel = "[...document.querySelector('canvas.mask').getContext('2d').getImageData({}, {}, 1, 1).data]"
    white = [255, 255, 255, 255]
    dog = page.run(pixel.format(29, 6))  # its right side is at 30, with a line of one pixel
    assert dog != white
    assert page.run(pixel.format(20, 15)) == white
    page.click(".areas li:last-child input")
    page.until(lambda: page.run("document.querySelector('canvas.mask').dataset.painted") == "1")
    assert page.run(pixel.format(29, 6)) == white
    page.complaints.clear()  # this test reads the canvas more often than the page does


def test_several_outputs(page, kinds):
    shown(page, kinds, "sum")
    write(page, "#inputs textarea", "[1, 2.5]")
    ask(page)
    assert page.run("[...document.querySelectorAll('#answer h3')].map(e => e.textContent)") == ["sum", "same"]
    assert page.text(".numbers dd") == "3.5 km"
    write(page, "#inputs textarea", "1 2 3")
    assert page.text("#predict-error") == "3 numbers, and the model takes 2."


@needs_curl
def test_several_inputs(page, kinds, tmp_path):
    """An object by their names; a file in it is base64, and in a terminal goes through a pipe."""
    shown(page, kinds, "flower")
    given = "[{name: 'image', kind: 'image'}, {name: 'words', kind: 'text'}]"
    values = r"[new File(['abc'], 'a b.png'), 'it\'s \\ \"so\"']"
    body = page.run(f"import('./web/request.js').then(m => m.body({given}, {values}))")
    wanted = {"inputs": {"image": "YWJj", "words": 'it\'s \\ "so"'}}
    assert json.loads(body["content"]) == wanted
    command = page.run(f"import('./web/request.js').then(m => m.terminal('http://x/', {given}, {values}, 'key'))")
    assert "-H 'Authorization: Bearer '\"$KEY\"" in command
    (tmp_path / "a b.png").write_bytes(b"abc")
    printed = command.split(" |\n")[0]
    done = subprocess.run(["sh", "-c", printed], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout) == wanted


def test_a_kind_that_the_page_does_not_know(page, kinds):
    """JSON goes in and JSON comes out."""
    shown(page, kinds, "flower")
    page.run("""import('./web/widgets.js').then(m => {
        window.tried = m.widget({kind: 'state', name: 'board'}, () => {});
        window.tried.element.querySelector('textarea').value = '{"a": [1]}';
    })""")
    assert page.run("window.tried.value()") == {"a": [1]}
    page.run("window.tried.element.querySelector('textarea').value = '{'")
    assert "board is no JSON" in page.run("(() => { try { window.tried.value() } catch (e) { return e.message } })()")
    drawn = "import('./web/answers.js').then(m => m.draw([{kind: 'boxes'}], [1])[0].textContent)"
    assert page.run(drawn) == "[\n  1\n]"


def test_the_page_follows_the_chosen_model(page, kinds):
    shown(page, kinds, "flower")
    views = "[...document.querySelectorAll('main')].filter(e => !e.hidden).map(e => e.id)"
    assert page.run("[...document.getElementById('models').options].map(o => o.value)") == list(KINDS)
    assert page.run(views) == ["view-predict"]
    write(page, "#models", "tiny", "change")
    assert page.run(views) == ["view-playground"]
    write(page, "#models", "shapes", "change")
    assert page.run(views) == ["view-predict"]
    assert page.run("document.querySelectorAll('.drop').length") == 1
    page.click("#tab-card")
    page.until(lambda: page.run(views) == ["view-card"])
    page.until(lambda: page.text("#card h1") == "shapes")
    page.run("location.hash = ''")


def test_a_key_and_a_path_of_a_proxy(browser, tmp_path, serve):
    ring = KeyRing(tmp_path / "keys.json")
    key = ring.add("browser")
    server = serve(forward_bundles.table(tmp_path / "flower"), keys=str(ring.path))
    with below(server.url, "/deep/below/") as address:
        browser.requests.clear()
        browser.open(address)
        browser.until(lambda: browser.state() == "down")
        write(browser, "#key", key, "change")
        browser.until(lambda: browser.state() == "idle")
        assert browser.run("document.getElementById('key').closest('main').id") == "view-predict"
        ask(browser)
        assert len(bars(browser)) == 3
        assert browser.text("#predict-curl").startswith(f"curl {address}v1/models/flower/predict")
        assert all(url.startswith(address) for url in browser.requests)
        write(browser, "#key", "mk-wrong", "change")
        ask(browser, "failed")
        assert "key" in browser.text("#predict-error").lower()
        browser.run("sessionStorage.clear()")


def test_nothing_hangs_over_on_a_phone(browser, kinds):
    browser.send("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    try:
        for model in KINDS:
            shown(browser, kinds, model)
            if model in GIVEN:
                write(browser, "#inputs textarea", GIVEN[model])
            if model in (*GIVEN, "flower", "price"):
                ask(browser)
            assert browser.run("document.documentElement.scrollWidth") <= 390
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")
