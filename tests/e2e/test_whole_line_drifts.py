"""The loop closes by itself: drifted requests → alert → run → new release → no drift, and no request is lost.

Prometheus, Alertmanager, the receiver, Prefect's server and worker, and the endpoint are the real ones. It goes on with
the line that test_whole_line.py has made, or makes it.
"""

import subprocess
from pathlib import Path

import pytest

from benchmarks.drift_loop import loop
from serving.monitoring.stack import PROGRAMS
from tests.e2e.line_copy import environment
from tests.serving.monitoring.monitoring_tools import program

pytestmark = [pytest.mark.e2e, pytest.mark.prometheus, pytest.mark.timeout(900)]


def test_from_drifted_requests_to_a_release_that_knows_them(clone: Path) -> None:
    for names in PROGRAMS.values():
        program(*names)
    done = subprocess.run(
        ["metroline", "run", "tiny"], cwd=clone, env=environment(), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    found = loop(clone, clients=4)
    assert found["lost"] == 0, found["why_lost"]
    assert found["requests"] > 100
    assert found["drift_before"] < found["bound"] < found["drift_at_alert"], found
    assert found["drift_after"] < found["bound"], found
    assert found["run"].startswith("tiny: MetrolineDrift: Prompts to tiny are "), found
    print(found)
