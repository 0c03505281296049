"""One worker's candidate beside what other workers have decided, in the folder that they share."""

import os
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from base.files import write_json
from serving.http.settings import Settings
from serving.runtime import bundles
from serving.runtime.delivery import delivery
from serving.runtime.delivery.delivery import Board, Delivery
from serving.runtime.delivery.evidence import Verdict
from serving.runtime.loading import load
from tests.serving import candidates

GOOD, BAD = Verdict("promote", "as good"), Verdict("rollback", "another worker's users say so")


@pytest.fixture
def tried(flower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delivery:
    """A candidate that is beside a live model in one of two workers, all of whose requests it gets."""
    monkeypatch.setattr(delivery, "LOOK", 0.0)
    settings = Settings(threads=1)
    live, candidate = (
        load(bundle, settings)
        for path in (flower, candidates.same(tmp_path / "same"))
        for bundle in bundles.load_all([path])
    )
    folder = tmp_path / "shared"
    folder.mkdir()
    return Delivery(live, candidate, candidates.plan("canary", share=1.0), folder=folder, workers=2)


def test_a_worker_that_would_promote_hears_of_another_s_rollback(tried: Delivery, tmp_path: Path) -> None:
    assert tried.takes("req-1")
    tried._settle(GOOD)
    tried._board.write(GOOD)
    assert tried.takes("req-1")
    write_json(tmp_path / "shared" / f"delivery-{tried.plan.id}-1.json", asdict(BAD))
    assert not tried.takes("req-1")
    assert tried.verdict == BAD


def test_a_worker_that_would_promote_counts_on(tried: Delivery) -> None:
    tried._settle(GOOD)
    for _ in range(50):
        tried.answered(tried.candidate, 500)
        tried.answered(tried.live, 200)
    assert tried.verdict is not None
    assert tried.verdict.decision == "rollback"


def test_golden_items_that_roll_back_leave_no_share(tried: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    monkeypatch.setattr(tried._metrics, "share", lambda mode, share: shares.append(share))
    monkeypatch.setattr(tried._evidence, "verdict", lambda: BAD)
    monkeypatch.setattr(delivery, "NOTE", 1)
    tried.start()
    assert shares[-1] == 0.0


def test_workers_that_are_gone_promote_nothing(tried: Delivery, tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    write_json(tmp_path / "shared" / f"delivery-{tried.plan.id}-{gone.pid}.json", asdict(GOOD))
    tried._board.write(GOOD)
    assert tried.state()["decision"] is None
    write_json(tmp_path / "shared" / f"delivery-{tried.plan.id}-{os.getppid()}.json", asdict(GOOD))
    assert tried.state()["decision"] == "promote"


def test_a_decision_that_cannot_be_written_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "shared").mkdir()
    board = Board(tmp_path / "shared", "aa11", 2)
    (tmp_path / "shared").rmdir()
    (tmp_path / "shared").write_text("no folder any more")
    board.write(BAD)
    assert "decision not written" in caplog.text
