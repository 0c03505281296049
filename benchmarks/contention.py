"""What other work on half of the cores costs a training: the time of a step beside it, against the quiet time.

    python -m benchmarks.contention

Recipe `speeches`, a few steps at a time, quiet and beside busy processes by turns, as the line starts it
(pipelines/line/environment.py: threads that wait soon sleep) and as OpenMP does by default (they spin). Each setting's
median counts. With half of the cores gone, twice the quiet time is what there is to have.
"""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from base.parallel import cores
from benchmarks._report import report, say
from benchmarks._training import project, temporary_line, timing, train
from pipelines.line.environment import THREADS

RECIPE, TURNS = "speeches", 3
SHORT = {"steps": 16, "warmup": 4, "log_every": 2, "evaluate_every": 16}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many other processes that never wait."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    """Measure, and print the result."""
    found: dict[tuple[str, str], list[float]] = {}
    with temporary_line(RECIPE) as folder:
        for turn in range(TURNS):
            for policy in ("sleep", "spin"):
                for name, others in (("quiet", 0), ("busy", max(1, cores() // 2))):
                    paths = project(folder, f"{policy}-{name}-{turn}", RECIPE, **SHORT)
                    with busy(others):
                        train(paths, THREADS if policy == "sleep" else {})
                    seconds = statistics.median(line["step_s"] for line in timing(paths)[1:])  # the first is slower
                    found.setdefault((policy, name), []).append(seconds)
                    say(f"{policy}, {name}: {1e3 * seconds:.0f} ms a step")
    typical = {key: statistics.median(values) for key, values in found.items()}
    ratio = typical["sleep", "busy"] / typical["sleep", "quiet"]
    report(
        name="contention",
        value=round(1e3 * typical["sleep", "busy"], 1),
        unit="ms a step beside other work on half of the cores",
        baseline=round(1e3 * typical["sleep", "quiet"], 1),
        ratio=round(ratio, 3),
        accept="<= 2.2 (aim 1.8)",
        ok=ratio <= 2.2,
        spinning=round(typical["spin", "busy"] / typical["spin", "quiet"], 3),
        quiet_cost=round(typical["sleep", "quiet"] / typical["spin", "quiet"] - 1, 4),
    )


if __name__ == "__main__":
    main()
