"""Answers with sources, and the page of an index, in a real browser."""

from collections.abc import Iterator

import pytest

from tests import indexes
from tests.serving import chat_bundle
from tests.serving.web.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def served(library, serve, tmp_path_factory):
    """A chat model that babbles, the index, and one that finds nothing relevant."""
    talker = chat_bundle.build(tmp_path_factory.mktemp("sources") / "bundle", context=4096, max_tokens=400)
    root = tmp_path_factory.mktemp("strict")
    indexes.embedder(root)
    strict = indexes.write(root, "strict", task={"kind": "index", "threshold": 1.0})
    indexes.run(root, "strict")
    return serve(talker, library.bundle, strict.bundle)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def page(browser, served):
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []


def ask(page: Browser, text: str) -> None:
    page.run("document.getElementById('prompt').focus()")
    page.type(text)
    page.press("Enter")
    page.until(lambda: page.state() in ("done", "failed"))
    assert page.run("document.getElementById('error').hidden"), page.text("#error")


def test_an_answer_has_its_sources_beside_it_with_what_it_cites_marked(page, served, tmp_path):
    page.open(f"{served.url}/?temperature=0.9&seed=3&max_tokens=390")
    assert page.run("[...document.getElementById('sources').options].map(o => o.text)") == ["none", "library", "strict"]
    page.run("(e => { e.value = 'library'; e.dispatchEvent(new Event('change')) })(document.getElementById('sources'))")
    assert '"sources":"library"' in page.run("document.getElementById('curl').textContent")
    ask(page, "Who built the oldest ferry?")
    cites = page.run("[...document.querySelectorAll('#text .cite')].map(e => e.textContent)")
    assert cites
    marked = page.run("[...document.querySelectorAll('#found mark')].map(e => e.textContent)")
    passages = page.run("[...document.querySelectorAll('#found .passage.cited')].map(e => e.dataset.number)")
    assert set(passages) == set(cites)
    raw = "".join(each.decode() for each in indexes.DOCUMENTS.values()) + "# Rules # Fines"
    for each in marked:
        assert each
        assert all(line in raw.replace("&amp;", "&") or line.startswith("#") for line in each.split("\n") if line)
    assert "[" not in page.text("#text .assistant")
    page.click("#text .cite")
    page.until(lambda: page.run("document.querySelector('.looked-at')?.dataset.number") == cites[0])
    image = page.picture(tmp_path / "sources.png")
    assert len(image) > 20_000


def test_that_nothing_was_found_is_shown(page, served):
    page.open(f"{served.url}/?sources=strict")
    ask(page, "Who built the oldest ferry?")
    assert page.text("#text .assistant") == "The sources say nothing about this."
    assert page.text("#found-list") == "Nothing relevant was found."
    page.click("#clear")
    assert page.run("document.getElementById('found').hidden")


def test_the_page_of_an_index_searches(page, served):
    page.open(f"{served.url}/?model=library")
    page.run("document.querySelector('#inputs textarea').focus()")
    page.type("the oldest ferry is called")
    page.press("Enter", control=True)
    page.until(lambda: page.run("document.querySelectorAll('#answer .passage').length") > 0)
    assert "Concordia" in page.text("#answer .passage p")
    assert page.text("#answer .passage .document") == "harbour.txt"
    assert "/v1/search" in page.text("#predict-curl")
    assert '"query":"the oldest ferry is called"' in page.text("#predict-curl")
    page.type(" " + "x" * 500)
    page.press("Enter", control=True)
    page.until(lambda: not page.run("document.getElementById('predict-error').hidden"))
    assert "more than 400" in page.text("#predict-error")
    page.complaints.clear()  # Chromium logs the 400
