"""`benchmarks.noop_run`: only a command that really had nothing to do is timed."""

import sys

import pytest

from base.errors import MetrolineError
from benchmarks import noop_run
from pipelines.line.dvc import Entry


def command(says: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"print({says!r}); raise SystemExit({code})"]


@pytest.mark.parametrize("says", ["✓ tiny: nothing is stale (1.4 s)", "Data and pipelines are up to date."])
def test_nothing_to_do_is_timed(says):
    assert 0 < noop_run.seconds(command(says)) < 60


@pytest.mark.parametrize(("says", "code"), [("✓ train 3 s", 0), ("nothing is stale", 1)])
def test_anything_else_is_no_measurement(says, code):
    with pytest.raises(RuntimeError, match=says):
        noop_run.seconds(command(says, code))


def test_a_stale_line_is_skipped_with_its_reason(monkeypatch):
    monkeypatch.setattr(noop_run.line, "entries", lambda _: [Entry("fetch@x", ()), Entry("train@x", ("models",))])
    assert noop_run.why_not("x") == "train of x is stale: metroline run x"
    monkeypatch.setattr(noop_run.line, "entries", lambda _: [Entry("fetch@x", ())])
    assert noop_run.why_not("x") is None


def test_a_recipe_that_is_not_there_is_the_reason(monkeypatch):
    def fail(_):
        raise MetrolineError("no recipe 'x'")

    monkeypatch.setattr(noop_run.line, "entries", fail)
    assert noop_run.why_not("x") == "no recipe 'x'"
