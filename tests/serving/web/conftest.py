"""A browser, and one server with a model of every kind of input and output."""

import pytest

from tests.serving import forward_bundles
from tests.serving.web import more_bundles
from tests.serving.web.browser import Browser


@pytest.fixture(scope="session")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="session")
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
