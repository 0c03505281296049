"""The file with the hashes of API keys: what is not one lets nobody in, and what goes away opens nothing."""

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from base.errors import MetrolineError
from serving.http.keys import KeyRing, main
from tests.serving import clients

GOOD = {"name": "a", "sha256": hashlib.sha256(b"k").hexdigest(), "created": 1}

DAMAGED = {
    "cut off": '{"keys": [',
    "a list": "[]",
    "no keys": "{}",
    "keys null": '{"keys": null}',
    "a hash that is null": json.dumps({"keys": [GOOD | {"sha256": None}]}),
    "a hash cut short": json.dumps({"keys": [GOOD | {"sha256": "00"}]}),
    "a hash in other letters": json.dumps({"keys": [GOOD | {"sha256": "é" * 64}]}),
    "a key in the clear": json.dumps({"keys": [GOOD | {"sha256": "mk-secret"}]}),
    "a limit in words": json.dumps({"keys": [GOOD | {"requests_per_minute": "many"}]}),
    "a negative limit": json.dumps({"keys": [GOOD | {"tokens_per_minute": -1}]}),
    "an unknown field": json.dumps({"keys": [GOOD | {"admin": True}]}),
    "made at no time": json.dumps({"keys": [GOOD | {"created": None}]}),
    "made in words": json.dumps({"keys": [GOOD | {"created": "today"}]}),
    "made after all years": json.dumps({"keys": [GOOD | {"created": 10**30}]}),
    "nested deep": '{"keys": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_told_in_one_line(tmp_path, case):
    path, content = tmp_path / "keys.json", DAMAGED[case]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    ring = KeyRing(path)
    with pytest.raises(MetrolineError, match="cannot be read") as caught:
        ring.find("k")
    assert "\n" not in str(caught.value)
    assert "mk-secret" not in str(caught.value)


def test_a_good_file(tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [GOOD | {"requests_per_minute": 0}]}))
    ring = KeyRing(tmp_path / "keys.json")
    assert ring.find("k").name == "a"
    for wrong in ("", "K", "k ", hashlib.sha256(b"k").hexdigest(), "\udcff"):
        assert ring.find(wrong) is None


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_not_listed(tmp_path, monkeypatch, capsys, case):
    content = DAMAGED[case]
    (tmp_path / "keys.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("METROLINE_KEYS", str(tmp_path / "keys.json"))
    assert main(["list"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/keys.json: cannot be read")


def test_keys_that_are_added_and_removed_at_once_are_neither_lost_nor_kept(tmp_path, monkeypatch):
    """Each waits between its reading and its writing, so that without a lock all would have read the same."""
    path = tmp_path / "keys.json"
    for index in range(3):
        KeyRing(path).add(f"old-{index}")
    write = KeyRing._write
    monkeypatch.setattr(KeyRing, "_write", lambda *given: (time.sleep(0.02), write(*given)))
    with ThreadPoolExecutor(6) as pool:
        adding = [pool.submit(KeyRing(path).add, f"new-{index}") for index in range(3)]
        removing = [pool.submit(KeyRing(path).remove, f"old-{index}") for index in range(3)]
        made = [each.result() for each in adding]
        assert [each.result() for each in removing] == [None] * 3
    ring = KeyRing(path)
    assert sorted(key.name for key in ring.read()) == ["new-0", "new-1", "new-2"]
    assert all(ring.find(key) for key in made)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MetrolineError, match="cannot be written"):
        KeyRing(tmp_path / "file" / "keys.json").add("alice")


@pytest.mark.skipif(os.getuid() == 0, reason="root may look into any folder")
def test_a_folder_that_cannot_be_looked_into_is_no_open_door(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    assert KeyRing(tmp_path / "shut" / "keys.json").there


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_keys_that_go_away_leave_the_door_shut(bundle, serve, tmp_path):
    ring = KeyRing(tmp_path / "keys.json")
    server = serve(bundle, keys=str(ring.path))
    with clients.http(server) as client:
        assert client.get("/v1/models").status_code == 200  # METROLINE_AUTH=auto: no keys were ever made
        key = ring.add("alice")
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=bearer(key)).status_code == 200
        ring.path.write_text(json.dumps({"keys": [GOOD | {"sha256": None}]}))
        assert client.get("/v1/models", headers=bearer(key)).status_code == 401
        ring.path.unlink()
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=bearer(key)).status_code == 401
