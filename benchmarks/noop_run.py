"""How long does `metroline run` take when nothing is stale?

    python -m benchmarks.noop_run [RECIPE]        # default: speeches

Value: median seconds of five whole processes in this project, files in the page cache. Baseline: `dvc repro` of the
same line, which asks DVC the same but neither checks the recipe nor the release. It runs no stage: where something is
stale, the benchmark is skipped and says so.
"""

import json
import statistics
import subprocess
import sys
import time

from base.errors import MetrolineError
from benchmarks._report import report, say
from benchmarks._training import ROOT
from pipelines.line import dvc as line
from pipelines.line import environment

TIMES, SECONDS = 5, 3.0


def seconds(command: list[str]) -> float:
    """Wall-clock time of a process. Raises RuntimeError when it fails or does anything but find that all is fresh."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    said = done.stdout + done.stderr
    if done.returncode or not ("nothing is stale" in said or "up to date" in said):
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return took


def why_not(recipe: str) -> str | None:
    """What keeps `metroline run` from having nothing to do; None: nothing."""
    try:
        stale = [entry.stage for entry in line.entries(recipe) if not entry.fresh]
    except MetrolineError as error:
        return str(error)
    return f"{', '.join(stale)} of {recipe} is stale: metroline run {recipe}" if stale else None


def main() -> None:
    """Measure, and print the result."""
    recipe = sys.argv[1] if len(sys.argv) > 1 else "speeches"
    environment.enter(ROOT)
    if reason := why_not(recipe):
        print(json.dumps({"name": "noop_run", "skipped": reason}))
        return
    ours = [sys.executable, "-m", "pipelines.commands.cli", "run", recipe]
    theirs = [sys.executable, "-m", "dvc", "repro", f"release@{recipe}"]
    for command in (ours, theirs):
        seconds(command)  # fills the page cache, writes .pyc files
    measured = [(seconds(ours), seconds(theirs)) for _ in range(TIMES)]
    mine, dvc = (statistics.median(column) for column in zip(*measured, strict=True))
    say(f"metroline run: {', '.join(f'{one:.2f}' for one, _ in measured)} s")
    report(
        name="noop_run",
        value=round(mine, 2),
        unit="s",
        baseline=round(dvc, 2),
        ratio=round(mine / dvc, 2),
        accept=f"<= {SECONDS:g} s",
        ok=mine <= SECONDS,
    )


if __name__ == "__main__":
    main()
