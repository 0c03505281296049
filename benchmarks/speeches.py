"""How well does the demo's model predict speeches it has not seen, after at most three minutes of training?

    python -m benchmarks.speeches

Recipe `speeches` is trained from nothing in a folder of its own and scored on the test split as stage `evaluate` does.
Value: bits per byte. Baseline: `xz -9e` on the same text. The seconds are those of stage `train` as a whole: start of
the process, compilation, steps, validation, states, checkpoint. Evaluation is not counted.
"""

import time

from base.files import read_json
from benchmarks._report import report, say
from benchmarks._training import ROOT, project, temporary_line, train
from pipelines.evaluation import evaluate
from pipelines.recipe.load import load as load_recipe

RECIPE = "speeches"
BITS, SECONDS = 1.50, 180.0


def main() -> None:
    """Measure, and print the result."""
    with temporary_line(RECIPE) as folder:
        paths = project(folder, "run", RECIPE)
        say(f"training {RECIPE}")
        started = time.perf_counter()
        train(paths)
        seconds = time.perf_counter() - started
        say(f"trained in {seconds:.1f} s; scoring the test split")
        evaluate(load_recipe(RECIPE, ROOT), paths)
        measured, record = read_json(paths.metrics), read_json(paths.checkpoint / "training.json")
    bits, baselines = measured["test"]["bits_per_byte"], measured["baselines"]
    report(
        name="speeches",
        value=round(bits, 4),
        unit="bits per byte of the test split",
        baseline=round(baselines["xz_bits_per_byte"], 4),
        ratio=round(bits / baselines["xz_bits_per_byte"], 4),
        accept=f"<= {BITS:.2f}, below both baselines, trained in <= {SECONDS:g} s",
        ok=bits <= BITS and bits < min(baselines.values()) and seconds <= SECONDS,
        seconds=round(seconds, 1),
        bigram_bits_per_byte=round(baselines["bigram_bits_per_byte"], 4),
        parameters=record["parameters"],
        steps=record["steps"],
    )


if __name__ == "__main__":
    main()
