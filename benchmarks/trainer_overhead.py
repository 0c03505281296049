"""What the trainer itself costs: data wait, logging, metrics and progress as a part of the time of a step.

    python -m benchmarks.trainer_overhead

Recipe `shakespeare` is trained with all of it switched on. Its steps take tens of milliseconds, so the share is larger
than in any recipe of real size. Forward, backward, clipping and the optimizer count as the step itself; validation
passes and writing states are not part of a step.
"""

from benchmarks._report import report, say
from benchmarks._training import project, temporary_line, timing, train


def main() -> None:
    """Measure, and print the result."""
    with temporary_line() as folder:
        paths = project(folder, "run")
        train(paths)
        measured = timing(paths)[1:]  # the first line has the first step, which is slower
    steps = sum(line["steps"] for line in measured)
    whole = sum(line["steps"] * line["step_s"] for line in measured) / steps
    compute = sum(line["steps"] * line["compute_s"] for line in measured) / steps
    data = sum(line["steps"] * line["data_wait_s"] for line in measured) / steps
    share = 1 - compute / whole
    rest = whole - compute - data
    say(f"{steps} steps of {whole * 1e3:.2f} ms: data wait {data * 1e3:.3f} ms, the rest {rest * 1e3:.3f} ms")
    report(
        name="trainer_overhead",
        value=round(100 * share, 3),
        unit="% of step time",
        baseline=round(whole * 1e3, 3),
        ratio=round(share, 5),
        accept="<= 0.03",
        ok=share <= 0.03,
        data_wait_ms=round(data * 1e3, 4),
    )


if __name__ == "__main__":
    main()
