"""What `metroline demo` says at its end. The line and the endpoint themselves: tests/e2e."""

import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from base.client import Client
from pipelines.commands import demo
from pipelines.recipe.load import load
from pipelines.release.store import Pointers, Store
from tests.pipelines.line.stand_in_endpoint import Endpoint

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("once", "last"),
    [(True, "it ends with this command; metroline serve tiny"), (False, "the endpoint stops; metroline demo")],
)
def test_says_how_long_the_endpoint_stays(monkeypatch: pytest.MonkeyPatch, once: bool, last: str) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", lambda *_: None)
    monkeypatch.setattr(demo, "Served", Endpoint)
    monkeypatch.setattr(demo, "ask", lambda *_: ("/v1/completions", "The end"))
    monkeypatch.setattr(time, "sleep", interrupt)
    shown = io.StringIO()
    demo.demonstrate("tiny", once=once, port=0, root=ROOT, console=Console(file=shown, width=200))
    assert shown.getvalue().splitlines()[-1].startswith(last)
    assert ("Ctrl-C ends it." in shown.getvalue()) is not once


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, Path], None]:
    """Makes a bundle the live release of a recipe."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))

    def release(recipe: str, bundle: Path) -> None:
        store = Store.of(ROOT)
        shutil.copytree(bundle, store.folder(f"{recipe}:abc"))
        store.point(recipe, Pointers(live=f"{recipe}:abc"))

    return release


def test_a_model_of_text_goes_on_with_the_recipes_first_prompt(scripted, scripted_server, released) -> None:
    released("speeches", scripted)
    route, shown = demo.ask(Client(scripted_server.url), "speeches", ROOT)
    assert route == "/v1/completions"
    [prompt, *_] = load("speeches", ROOT).evaluate.prompts
    assert shown.startswith(prompt)
    assert len(shown) > len(prompt)


def test_a_model_that_answers_in_one_call_gets_a_golden_item(flower, serve, released) -> None:
    released("flower", flower)
    route, shown = demo.ask(Client(serve(flower).url), "flower", ROOT)
    assert route == "/v1/models/flower/predict"
    asked, _, answered = shown.partition("\n→ ")
    assert json.loads(asked)["inputs"]
    assert [set(each) for each in json.loads(answered)] == [{"label", "score"}] * 3
