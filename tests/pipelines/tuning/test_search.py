"""A search arrives at one table, however often it is killed; it reads no test split; it is better than nothing."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from base.errors import MetrolineError
from base.files import read_json
from pipelines.recipe.load import load
from pipelines.tuning import space
from pipelines.tuning.search import Options, search
from pipelines.tuning.study import Study
from tests.pipelines.training import small_runs

TEXTS = ["train.lr=loguniform(1e-4, 0.1)", "model.width=choice(16, 32)", "train.ema=uniform(0, 0.5)"]
OPTIONS = Options(trials=9, minutes=10, sampler="tpe", pruner="median", seed=3)
FILES = ("table.csv", "mini.patch", "mini.yaml", "parallel.png", "importance.png", "winner.json")


def project(root):
    """Without the test split: whoever opens it fails."""
    paths = small_runs.project(root)
    shards = list(paths.prepared.glob("test*"))
    assert shards
    for path in shards:
        path.unlink()
    return paths


def run(root, options=OPTIONS, texts=TEXTS):
    lines = []
    return search("mini", root, space.parse(texts), options, lines.append), lines


def files(found):
    return {name: (found.folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing stopped, and the bytes of its files."""
    root = tmp_path_factory.mktemp("whole")
    project(root)
    found, lines = run(root)
    return root, found, lines, files(found)


def test_finds_settings_and_writes_a_recipe_that_loads(whole):
    root, found, lines, _ = whole
    with (found.folder / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["trial"] for row in table] == [str(number) for number in range(9)]
    assert len(lines) == 9
    assert {row["state"] for row in table} == {"complete", "pruned"}
    complete = [float(row["valid_loss"]) for row in table if row["state"] == "complete"]
    assert found.winner.value == min(complete)
    assert found.own == float(table[0]["valid_loss"])
    assert table[0]["train.lr"] == "0.02"  # the recipe's own settings are tried first
    winner = read_json(found.folder / "winner.json")
    assert winner["first"]["value"] == found.winner.value != winner["second"]["value"] == found.second
    (root / "pipelines/recipes/mini.yaml").write_bytes((found.folder / "mini.yaml").read_bytes())
    try:
        assert load("mini", root).train.lr == winner["settings"]["train.lr"]
    finally:
        small_runs.write_recipe(root)
    assert not (found.folder / "trials").exists()


def test_again_is_read_from_the_journal_and_more_trials_go_on(whole):
    root, _, _, written = whole
    again, lines = run(root)
    assert (files(again), lines) == (written, [])
    more, lines = run(root, Options(10, 10, "tpe", "median", 3))
    assert len(lines) == 1
    assert (more.folder / "table.csv").read_bytes().startswith(written["table.csv"])


def test_killed_between_any_steps_gives_the_same(whole, tmp_path):
    project(tmp_path)
    for step in (0, 4, 7, 11, 5, 1):
        with small_runs.killed_after(step):
            run(tmp_path)
    assert files(run(tmp_path)[0]) == whole[3]


PROGRAM = """
import sys
from pathlib import Path
from tests.pipelines.tuning.test_search import run
run(Path(sys.argv[1]))
"""


def test_killed_outright_at_its_journal_gives_the_same(whole, tmp_path):
    project(tmp_path)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(small_runs.ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=small_runs.ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline, journal = time.monotonic() + 200, []
    while time.monotonic() < deadline and not (journal and journal[0].stat().st_size > 2000):
        time.sleep(0.01)
        journal = list(tmp_path.glob("artifacts/mini/tuning/*/journal.log"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    with journal[0].open("ab") as file:
        file.write(b'{"op_code":4,"worker')  # the kill was within a line
    with suppress(FileExistsError):
        (journal[0].parent / "journal.log.lock").symlink_to("nowhere")  # and while the file was locked
    assert files(run(tmp_path)[0]) == whole[3]


@pytest.mark.parametrize(("sampler", "pruner"), [("random", "hyperband"), ("grid", "none")])
def test_other_methods(whole, tmp_path, sampler, pruner):
    project(tmp_path)
    texts = ["train.lr=choice(0.0001, 0.01, 0.03)", "model.width=int(16, 32, 16)"]
    options = Options(20 if sampler == "grid" else 6, 10, sampler, pruner, 1)
    found, lines = run(tmp_path, options, texts)
    tried = [tuple(trial.params.values()) for trial in found.study.trials]
    if sampler == "grid":
        assert len(tried) == len(set(tried)) == 6
        assert lines[-1] == "the grid is done"
    else:
        assert len(tried) == 6


def test_a_grid_needs_single_values(tmp_path):
    project(tmp_path)
    with pytest.raises(MetrolineError, match="a grid needs single values"):
        run(tmp_path, Options(4, 10, "grid", "none", 1), ["train.lr=uniform(0.1, 0.2)"])


def test_trials_that_fail_do_not_end_the_search(tmp_path):
    project(tmp_path)
    texts = ["train.steps=choice(3, 12)", "train.warmup=choice(2, 5)"]  # each goes with the rest, not both
    found, lines = run(tmp_path, Options(4, 10, "grid", "none", 1), texts)
    assert len(lines) == 4
    (told,) = [line for line in lines if "no recipe" in line]
    assert "warmup (5) must be shorter than steps (3)" in told
    assert [trial.value is None for trial in found.study.trials].count(True) == 1
    with pytest.raises(MetrolineError, match=r"none of 2 trials can win: step \d: loss .*; the batch was"):
        run(tmp_path, Options(2, 10, "grid", "none", 1), ["train.lr=choice(1e30, 1e32)"])


def test_time_is_counted_over_all_sittings(whole, tmp_path):
    project(tmp_path)
    _, lines = run(tmp_path, Options(9, 1e-6, "tpe", "median", 3))
    assert [line.split(":")[0] for line in lines] == ["trial 0 (1 of 9)", "1e-06 minutes are used"]
    _, lines = run(tmp_path, Options(9, 1e-6, "tpe", "median", 3))
    assert lines == ["1e-06 minutes are used"]


def test_what_is_next_is_a_function_of_the_journal(whole):
    found = whole[1]
    asked = [found.study.ask().params for _ in range(2)]
    assert asked[0] == asked[1]
    other = Study(found.folder / "other", "x", found.study.settings, found.study.method, None)
    assert other.ask().params != asked[0]
