"""What a benchmark says: lines for whoever watches, each measurement as it is made, and the last line.

With OUT set to a folder, measurements and the last line are also appended to benchmarks.jsonl in it, so that what was
measured survives a run that is cut off. Imports nothing, as GPU machines have little more than torch and triton.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    """A line for whoever watches, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def record(**measured: Any) -> None:
    """Say one measurement and keep it."""
    say(json.dumps(measured))
    _keep(measured)


def report(**result: Any) -> None:
    """Print the benchmark's last line, keep it, and exit."""
    print(json.dumps(result), flush=True)
    _keep(result)
    sys.exit(0 if result["ok"] else 1)


def _keep(line: dict[str, Any]) -> None:
    if folder := os.environ.get("OUT"):
        with (Path(folder) / "benchmarks.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
