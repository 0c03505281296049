"""What `metroline demo` says at its end. The line and the endpoint themselves: tests/e2e."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.commands import demo
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
    monkeypatch.setattr(demo, "complete", lambda *_, **__: ["a", "b"])
    monkeypatch.setattr(time, "sleep", interrupt)
    shown = io.StringIO()
    demo.demonstrate("tiny", once=once, port=0, root=ROOT, console=Console(file=shown, width=200))
    assert shown.getvalue().splitlines()[-1].startswith(last)
    assert ("Ctrl-C ends it." in shown.getvalue()) is not once
