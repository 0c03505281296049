"""The playground of models that answer in one call, in a real browser: a widget a kind of input, an answer a kind of
output, and a line for a terminal that says the same."""

import base64
import json
import subprocess

import pytest

from serving.http.keys import KeyRing
from tests.serving import forward_bundles
from tests.serving.web import more_bundles
from tests.serving.web.predict_page import (
    KINDS,
    ask,
    bars,
    from_terminal,
    needs_chromium,
    needs_curl,
    said,
    shown,
    worded,
    write,
)
from tests.serving.web.reverse_proxy import below

pytestmark = [pytest.mark.browser, needs_chromium]
GIVEN = {
    "mood": "of the people",
    "blank": "of the [MASK]",
    "vector": "people",
    "sum": "1 2",
    "grid": "1,2\n" * 24,
    "ahead": "1,2\n" * 24,
}


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
    drawn = "import('./web/answers.js').then(m => m.draw([{kind: 'mesh'}], [1])[0].textContent)"
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
