"""Downloads from a real server that breaks: resumed, retried, checked; one clear line when it is hopeless."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from base.errors import MetrolineError, NetworkError
from data.fetch.download import ATTEMPTS, download, forget
from tests.data.fetch.web_site import Fault, Site

BODY = bytes(range(256)) * 4096  # 1 MiB
PIN = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def get(site: Site, tmp_path: Path, waits: list[float]):
    site.files["/data.bin"] = BODY

    def run(*faults: Fault, sha256: str = PIN, path: str = "/data.bin", report=lambda _: None) -> bytes:
        site.faults[path] = list(faults)
        target = tmp_path / "target"
        download(site.address + path, sha256, target, name="demo", sleep=waits.append, report=report)
        return target.read_bytes()

    return run


def test_whole_file_in_one_go(get, site, waits):
    arrived = []
    assert get(report=arrived.append) == BODY
    assert site.ranges == [""]
    assert waits == []
    assert sum(arrived) == len(BODY)


def test_resumes_where_the_connection_broke(get, site, waits):
    assert get(Fault(break_after=300_000), Fault(break_after=100_000)) == BODY
    assert site.ranges == ["", "bytes=300000-", "bytes=400000-"]
    assert len(waits) == 2


def test_starts_over_when_the_server_knows_no_ranges(get, site):
    assert get(Fault(break_after=300_000), Fault(ignore_range=True)) == BODY
    assert site.ranges == ["", "bytes=300000-"]


def test_other_range_than_asked_for_is_not_appended(get):
    wrong = Fault(headers={"Content-Range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"})
    assert get(Fault(break_after=300_000), wrong) == BODY


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_retries_passing_errors_with_growing_waits(get, site, waits, status):
    assert get(Fault(status=status), Fault(status=status)) == BODY
    assert len(site.requests) == 3
    assert 0.5 <= waits[0] <= 1.0 <= waits[1] <= 2.0  # 1 s and 2 s, less up to a half of jitter


def test_waits_as_long_as_the_server_asks(get, waits):
    assert get(Fault(status=503, headers={"Retry-After": "7"})) == BODY
    assert waits == [7.0]


def test_gives_up_after_tries_without_a_byte(get, site):
    with pytest.raises(NetworkError, match=r"demo: cannot reach 127\.0\.0\.1:\d+: status 500 .*METROLINE_MIRROR"):
        get(*[Fault(status=500)] * 20)
    assert len(site.requests) == ATTEMPTS


def test_slow_progress_is_no_reason_to_give_up(get, site):
    assert get(*[Fault(break_after=50_000)] * (ATTEMPTS + 4)) == BODY
    assert len(site.requests) == ATTEMPTS + 5


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refused_is_final(get, site, status):
    with pytest.raises(MetrolineError, match=rf"demo: http://.*/data\.bin answers {status} .*check the address"):
        get(Fault(status=status))
    assert len(site.requests) == 1


def test_follows_redirects(get, site):
    site.files["/elsewhere"] = BODY
    assert get(Fault(redirect="/elsewhere")) == BODY


def test_wrong_hash_names_both_and_leaves_nothing(get, cache, tmp_path):
    with pytest.raises(MetrolineError, match=f"has SHA-256 {PIN}, the recipe pins {'0' * 64}"):
        get(sha256="0" * 64)
    assert not (tmp_path / "target").exists()
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_damaged_part_is_fetched_again_once(get, site, cache):
    cache.mkdir(parents=True)
    (cache / f"{PIN}.part").write_bytes(b"something else")
    assert get() == BODY
    assert site.ranges == ["bytes=14-", ""]


def test_part_longer_than_the_file_is_fetched_again(get, site, cache):
    cache.mkdir(parents=True)
    (cache / f"{PIN}.part").write_bytes(BODY + b"x")
    assert get() == BODY
    assert site.ranges == [f"bytes={len(BODY) + 1}-", ""]


def test_part_that_was_already_whole_is_used(get, site, cache):
    cache.mkdir(parents=True)
    (cache / f"{PIN}.part").write_bytes(BODY)
    assert get() == BODY
    assert site.ranges == [f"bytes={len(BODY)}-"]


def test_stays_in_the_cache_until_forgotten(get, site, cache):
    get()
    assert get() == BODY
    assert len(site.requests) == 1
    forget(PIN)
    assert not (cache / PIN).exists()


def test_no_server(tmp_path, waits):
    with pytest.raises(NetworkError, match=r"demo: cannot reach 127\.0\.0\.1:9: .*refused.*check the network"):
        download("http://127.0.0.1:9/x", PIN, tmp_path / "target", name="demo", sleep=waits.append)
    assert len(waits) == ATTEMPTS - 1
    assert not (tmp_path / "target").exists()


def test_goes_on_after_a_kill(site, tmp_path, cache):
    site.files["/data.bin"] = BODY
    site.faults["/data.bin"] = [Fault(pause=0.05)]
    call = f"download({site.address + '/data.bin'!r}, {PIN!r}, Path({str(tmp_path / 'target')!r}), name='demo')"
    program = f"from pathlib import Path; from data.fetch.download import download; {call}"
    child = subprocess.Popen([sys.executable, "-c", program])
    part = cache / f"{PIN}.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 1 << 17) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    have = part.stat().st_size
    assert 0 < have < len(BODY)
    assert not (tmp_path / "target").exists()
    download(site.address + "/data.bin", PIN, tmp_path / "target", name="demo")
    assert (tmp_path / "target").read_bytes() == BODY
    assert site.ranges[-1] == f"bytes={have}-"


def test_two_at_once_fetch_it_once(site, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    site.files["/data.bin"] = BODY
    site.faults["/data.bin"] = [Fault(pause=0.01)]

    def one(number: int) -> bytes:
        target = tmp_path / f"target{number}"
        download(site.address + "/data.bin", PIN, target, name="demo")
        return target.read_bytes()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, range(2))) == [BODY, BODY]
    assert len(site.requests) == 1
