"""A release that no running endpoint serves is tried on one that is started for this only, and the line says so."""

from pathlib import Path

import pytest

from pipelines.line import deployment, endpoint
from pipelines.release import live
from tests.pipelines.line.stand_in_endpoint import Endpoint


def test_names_what_no_endpoint_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another recipe's endpoint may run all the time."""
    said, deployed = [], []
    monkeypatch.setattr(endpoint, "Served", Endpoint)
    monkeypatch.setattr(live, "deploy", lambda recipe, url, **_: deployed.append((recipe, url)))
    deployment._try_out("mine", said.append, tmp_path)
    assert said == ["no endpoint serves mine: starting one for a smoke request"]
    assert deployed == [("mine", Endpoint.url)]
