"""Runs `tests/kernels/interpreted`: the Triton kernels' numbers, in Triton's interpreter, which needs its own process.

Two files at a time, one thread each: the interpreter is NumPy, and its threads would only get into each other's way.
"""

import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the Triton kernels need triton (Linux)")
FOLDER = Path(__file__).parent / "interpreted"
FILES = sorted(FOLDER.glob("test_*.py"))


def run(file: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "-p", "no:cacheprovider", str(file)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def runs():
    pool = ThreadPoolExecutor(2)
    yield {file: pool.submit(run, file) for file in FILES}
    pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem.removeprefix("test_"))
def test_interpreted(file: Path, runs: dict[Path, Future[subprocess.CompletedProcess[str]]]):
    done = runs[file].result()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout
