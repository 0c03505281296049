"""Memory goes back to the system when it is freed; each try needs a process of its own."""

import subprocess
import sys

import pytest

GROWTH = """
import sys
import numpy as np
import psutil
from serving.processes import keep_no_memory

if sys.argv[1] == "with":
    keep_no_memory()
resident = psutil.Process().memory_info
before = resident().rss
for _ in range(3):
    np.ones(16 << 20, np.uint8)
print(resident().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_goes_back_to_the_system():
    grown = {}
    for setting in ("with", "without"):
        done = subprocess.run([sys.executable, "-c", GROWTH, setting], capture_output=True, text=True, check=True)
        grown[setting] = int(done.stdout)
    assert grown["with"] < 4 << 20
    assert grown["without"] > 12 << 20, "glibc has changed: keep_no_memory may no longer be needed"
