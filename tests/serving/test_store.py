"""The reading side of the model store: live, previous, and where it lies."""

import json
from pathlib import Path

import pytest

from base.errors import MetrolineError
from serving.store import candidate, home, resolve


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A store with two releases of `speeches`."""
    for version in ("aaa111", "bbb222"):
        (tmp_path / "models/speeches" / version).mkdir(parents=True)
    (tmp_path / "metroline").mkdir()
    point(tmp_path, {"live": "speeches:bbb222", "previous": "speeches:aaa111"})
    return {"BENTOML_HOME": str(tmp_path)}


def point(store: Path, value: object) -> None:
    (store / "metroline/speeches.json").write_text(value if isinstance(value, str) else json.dumps(value))


def test_live_and_previous(environment: dict[str, str], tmp_path: Path) -> None:
    assert resolve("speeches", environment=environment) == tmp_path / "models/speeches/bbb222"
    assert resolve("speeches", "previous", environment) == tmp_path / "models/speeches/aaa111"


def test_home_without_a_variable_is_bentomls_default() -> None:
    assert home({}) == Path.home() / "bentoml"
    assert home({"BENTOML_HOME": "~/x"}) == Path.home() / "x"


def test_nothing_released_names_what_is(environment: dict[str, str]) -> None:
    with pytest.raises(MetrolineError, match=r"no release of names in .*metroline run names; there are .* speeches"):
        resolve("names", environment=environment)


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ({"previous": None}, "cannot be read: KeyError"),
        ({"live": None, "previous": None}, "there is no live release of speeches"),
        ({"live": "speeches:ccc333"}, "speeches:ccc333 is live, but not in"),
        ({"live": "speeches:../../x"}, "which is no release of speeches"),
        ({"live": "names:aaa111"}, "which is no release of speeches"),
        ({"live": 7}, "which is no release of speeches"),
    ],
)
def test_bad_pointers(environment: dict[str, str], tmp_path: Path, pointer: object, message: str) -> None:
    point(tmp_path, pointer)
    with pytest.raises(MetrolineError, match=message):
        resolve("speeches", environment=environment)


PLAN = {"id": "a1", "mode": "canary", "share": 0.1}


def test_a_candidate_and_its_plan(environment: dict[str, str], tmp_path: Path) -> None:
    assert candidate("speeches", environment) is None
    point(tmp_path, {"live": "speeches:bbb222", "previous": None, "candidate": "speeches:aaa111", "plan": PLAN})
    found = candidate("speeches", environment)
    assert found
    assert found[0] == tmp_path / "models/speeches/aaa111"
    assert (found[1].mode, found[1].share, found[1].requests) == ("canary", 0.1, 500)


@pytest.mark.parametrize(
    ("tag", "plan", "message"),
    [
        ("speeches:aaa111", None, "the plan of speeches:aaa111 cannot be read"),
        ("speeches:aaa111", [], "cannot be read"),
        ("speeches:aaa111", {}, "cannot be read"),
        ("speeches:aaa111", {**PLAN, "mode": "blue"}, "is no plan of a delivery"),
        ("speeches:aaa111", {**PLAN, "share": 2}, "is no plan of a delivery"),
        ("speeches:aaa111", {**PLAN, "share": "many"}, "cannot be read: TypeError"),
        ("speeches:aaa111", {**PLAN, "id": "../x"}, "is no plan of a delivery"),
        ("speeches:aaa111", {**PLAN, "more": 1}, "cannot be read: TypeError"),
        ("speeches:ccc333", PLAN, "speeches:ccc333 is candidate, but not in"),
        ("names:aaa111", PLAN, "which is no release of speeches"),
    ],
)
def test_bad_candidates(environment: dict[str, str], tmp_path: Path, tag: str, plan: object, message: str) -> None:
    point(tmp_path, {"live": "speeches:bbb222", "previous": None, "candidate": tag, "plan": plan})
    with pytest.raises(MetrolineError, match=message):
        candidate("speeches", environment)
