"""Recipes with a value, a key or a byte changed: read, or refused in one line that names the file."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from base.errors import MetrolineError
from pipelines.recipe.load import load as load_recipe
from tests.fuzz.profile import FUZZ, JSON, one_line, outcome

SHIPPED = [path.read_text() for path in sorted((Path(__file__).parents[2] / "pipelines/recipes").glob("*.yaml"))]
"""The recipes of this repository."""


def places(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The keys that lead to each value of a recipe."""
    inner = value.items() if isinstance(value, dict) else ()
    return [path] * bool(path) + [place for key, each in inner for place in places(each, (*path, key))]


@st.composite
def changed(draw: st.DrawFn) -> str:
    """A shipped recipe with another value, another name or a further key at one place."""
    values = copy.deepcopy(yaml.safe_load(draw(st.sampled_from(SHIPPED))))
    *way, last = draw(st.sampled_from(places(values)))
    section = values
    for key in way:
        section = section[key]
    kind = draw(st.sampled_from(["value", "name", "key"]))
    if kind == "value":
        section[last] = draw(JSON)
    elif kind == "name":
        section[draw(st.text(max_size=8))] = section.pop(last)
    else:
        section[draw(st.text(max_size=8))] = draw(JSON)
    return yaml.safe_dump(values, allow_unicode=True)


def check(folder: Path, raw: bytes) -> None:
    path = folder / "pipelines/recipes/made.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    refused = outcome(lambda: load_recipe("made", folder), MetrolineError)
    assert refused is None or (one_line(refused) and "made" in refused)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@given(changed())
@FUZZ
def test_a_changed_recipe(folder, text):
    check(folder, text.encode("utf-8", "surrogatepass"))


@given(st.sampled_from(SHIPPED), st.data())
@FUZZ
def test_a_recipe_with_other_bytes(folder, text, data):
    raw = text.encode()
    at = data.draw(st.integers(0, len(raw)))
    check(folder, raw[:at] + data.draw(st.binary(max_size=4)) + raw[at + data.draw(st.integers(0, 40)) :])


@given(st.binary(max_size=60))
@example(b"")
@FUZZ
def test_any_bytes(folder, raw):
    check(folder, raw)
