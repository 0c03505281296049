"""What the receiver answers to Alertmanager, and to everybody else; no run is started here."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from base.errors import MetrolineError
from pipelines.line.watch import alerts
from pipelines.line.watch.key import shared_key
from pipelines.line.watch.receiver import LARGEST, application
from pipelines.line.watch.retraining import Limits, Retraining

KEY = "a key of the tests".replace(" ", "-")
NOBODY = "http://127.0.0.1:9/api"
"""No Prefect server listens here."""


def alert(model: str | None = "tiny", status: str = "firing", **annotations: str) -> dict[str, Any]:
    """As Alertmanager 0.25 sends it."""
    labels = {"alertname": "MetrolineDrift", "severity": "warning", **({"model": model} if model else {})}
    return {
        "status": status, "labels": labels, "annotations": {"summary": "Prompts are strange.", **annotations},
        "startsAt": "2026-11-30T20:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph", "fingerprint": "c0ffee",
    }  # fmt: skip


def notification(*found: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "version": "4", "groupKey": '{}:{model="tiny"}', "truncatedAlerts": 0, "status": "firing",
        "receiver": "retrain", "groupLabels": {"model": "tiny"}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager", "alerts": list(found), **changed,
    }  # fmt: skip


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def client(said: list[str]) -> Iterator[TestClient]:
    retraining = Retraining(NOBODY, ("tiny", "speeches"), Limits())
    with TestClient(application(retraining, KEY, said.append)) as made:
        made.headers["authorization"] = f"Bearer {KEY}"
        yield made


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer \udcff"],
)
def test_without_the_key_nothing_is_read(client: TestClient, said: list[str], header: str | None) -> None:
    del client.headers["authorization"]
    headers = {} if header is None else {"authorization": header.encode("utf-8", "surrogateescape")}
    answer = client.post("/alerts", content=b"not read", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert said == ["refused with 401: a key is needed: Authorization: Bearer KEY"]


BODIES = {
    "empty": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"version": "\xff"}',
    "a list": b"[]",
    "nested": b"[" * 100_000,
    "another version": json.dumps(notification(alert(), version="3")).encode(),
    "no version": json.dumps({"alerts": [alert()]}).encode(),
    "no alerts": json.dumps(notification()).encode(),
    "alerts that are a text": json.dumps(notification(alerts="tiny")).encode(),
    "a label that is a number": json.dumps(notification({**alert(), "labels": {"model": 7}})).encode(),
    "another status": json.dumps(notification(alert(status="pending"))).encode(),
    "no model": json.dumps(notification(alert(None))).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_is_no_notification(client: TestClient, said: list[str], body: bytes) -> None:
    answer = client.post("/alerts", content=body)
    assert answer.status_code == 400, answer.text
    (line,) = said
    assert line.startswith("refused with 400: "), line
    assert len(line) < 400
    assert "\n" not in answer.json()["error"]


def test_too_large_also_without_a_length(client: TestClient) -> None:
    assert client.post("/alerts", content=b" " * (LARGEST + 1)).status_code == 413
    assert client.post("/alerts", content=(b" " * 65536 for _ in range(17))).status_code == 413


@pytest.mark.parametrize("model", ["tinny", "../tiny", "a\nb", ""])
def test_a_model_that_is_not_watched(client: TestClient, said: list[str], model: str) -> None:
    answer = client.post("/alerts", json=notification(alert(model)))
    assert answer.status_code == (404 if model else 400)
    assert "\n" not in said[0]
    if model:
        assert answer.json()["models"][model]["said"].endswith("is not watched; watched: tiny, speeches")


def test_resolved_alerts_are_no_reason(client: TestClient) -> None:
    answer = client.post("/alerts", json=notification(alert(status="resolved")))
    assert (answer.status_code, answer.json()) == (200, {"models": {}, "said": "no alert fires"})


def test_without_prefect_alertmanager_is_to_try_again(client: TestClient) -> None:
    answer = client.post("/alerts", json=notification(alert()))
    assert answer.status_code == 503
    assert f"the Prefect server at {NOBODY} does not answer" in answer.json()["error"]


def test_other_methods_and_paths(client: TestClient) -> None:
    assert client.get("/alerts").status_code == 405
    assert client.post("/").status_code == 404
    assert client.get("/livez").text == "ok\n"
    assert client.get("/docs").status_code == 404


def test_refusals_are_counted(client: TestClient) -> None:
    client.post("/alerts", content=b"{")
    client.post("/alerts", json=notification(alert("other")))
    counted = client.get("/metrics").text
    assert 'metroline_watch_alerts_total{model="",outcome="malformed"} 1.0' in counted
    assert 'metroline_watch_alerts_total{model="",outcome="unknown"} 1.0' in counted, "no label that a client chooses"


def test_a_reason_is_one_short_line() -> None:
    body = json.dumps(notification(alert(summary="a\nb\x00" + "c" * 500), alert("speeches"))).encode()
    found = alerts.read(body)
    assert found["tiny"].startswith(r"MetrolineDrift: a b\x00ccc")
    assert (len(found["tiny"]), found["tiny"][-1]) == (alerts.LONGEST, "…")
    assert found["speeches"] == "MetrolineDrift: Prompts are strange."


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "watch/key"
    key = shared_key(path)
    assert len(key) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert shared_key(path) == key
    path.write_text(f"{KEY}\n")
    assert shared_key(path) == KEY


@pytest.mark.parametrize("contents", [b"", b"short", b"two words that are long", b"\xff" * 20])
def test_a_file_that_holds_no_key(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "key").write_bytes(contents)
    with pytest.raises(MetrolineError, match="key"):
        shared_key(tmp_path / "key")
    with pytest.raises(MetrolineError, match="cannot be read or made"):
        shared_key(tmp_path / "key/below")
