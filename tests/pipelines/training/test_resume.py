"""A run that is killed, stopped or damaged goes on to the very same bytes, or says why it begins anew."""

import json
import os
import random
import re
import shutil
import signal
import time

import pytest
import torch

from base.errors import MetrolineError
from base.files import read_json
from pipelines.paths import Paths
from pipelines.training import curves as pictures
from pipelines.training import loop
from pipelines.training.stage import train
from pipelines.training.state import Counters, States
from tests.pipelines.training import small_runs
from tests.pipelines.training.small_runs import Killed, killed_after

# Everything that has a state: averages, dropout, two optimizers, early stopping, more than one epoch, phases.
HARD = {
    "steps": 30, "ema": 0.9, "early_stopping": 50, "micro_batch": 2, "save_every": 4, "evaluate_every": 5,
    "phases": [{"steps": 10, "batch": 8, "sequence": 8}],
}  # fmt: skip
MODEL = {"dropout": 0.1}


def run(root, model=None, **options):
    paths = Paths("mini", root)
    if not paths.prepared.exists():
        small_runs.prepare(paths.prepared)
    train(small_runs.recipe(model, **options), paths)
    return paths


def folder(paths):
    """Where the states of the (only) fingerprint are."""
    (found,) = (paths.training / "states").iterdir()
    return found


@pytest.fixture(scope="module", autouse=True)
def _equal_curves_drawn_once():
    """Half of a run's time here is its picture. That equal curves give equal bytes is proven in test_train_run.py."""
    draw, drawn = pictures.draw, {}

    def draw_once(lines, path, *words):
        key = json.dumps([lines, words])
        if key not in drawn:
            draw(lines, path, *words)
            drawn[key] = path.read_bytes()
        path.write_bytes(drawn[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", draw_once)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a run that nothing disturbed; to be copied."""
    root = tmp_path_factory.mktemp("whole")
    run(root, MODEL, **HARD)
    return root


@pytest.fixture(scope="module")
def whole(done):
    """What it wrote."""
    return small_runs.hashes(Paths("mini", done).checkpoint)


def copy(root, folder):
    """The same run in another folder."""
    shutil.copytree(root, folder, dirs_exist_ok=True)
    return Paths("mini", folder)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "lamb"])
def test_stopping_after_every_step_changes_nothing(tmp_path, monkeypatch, optimizer):
    options = {**HARD, "optimizer": optimizer, "save_every": 1, "steps": 14}
    expected = small_runs.hashes(run(tmp_path / "whole", MODEL, **options).checkpoint)
    step = loop.Trainer.step
    done = []

    def once(self):
        if done:
            raise Killed
        step(self)
        done.append(self.counters.step)

    monkeypatch.setattr(loop.Trainer, "step", once)
    for number in range(1, 14):
        with pytest.raises(Killed):
            run(tmp_path / "pieces", MODEL, **options)
        assert done == [number]
        done.clear()
    paths = run(tmp_path / "pieces", MODEL, **options)
    assert small_runs.hashes(paths.checkpoint) == expected


@pytest.mark.parametrize("point", ["write_tensors", "write_json", "_rotate"])
def test_dying_while_a_state_is_written(tmp_path, monkeypatch, whole, point):
    from pipelines.training import state

    owner = States if point == "_rotate" else state
    original = getattr(owner, point)
    calls = []

    def dying(*arguments):
        calls.append(1)
        if len(calls) in (2, 3):
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(owner, point, dying)
    for _ in range(2):
        with pytest.raises(Killed):
            run(tmp_path, MODEL, **HARD)
    assert small_runs.hashes(run(tmp_path, MODEL, **HARD).checkpoint) == whole


def test_sigkill_at_random_moments(tmp_path, whole):
    paths = small_runs.project(tmp_path, MODEL, **HARD)
    generator = random.Random(0)
    seen = []
    for _ in range(3):
        process = small_runs.start(tmp_path)
        deadline = time.monotonic() + 120
        target = (seen[-1] if seen else 0) + generator.randint(1, 8)
        while process.poll() is None and time.monotonic() < deadline:
            steps = [int(path.stem[5:]) for path in (paths.training / "states").glob("*/step-*.json")]
            if steps and max(steps) >= target:
                time.sleep(generator.uniform(0, 0.02))
                break
            time.sleep(0.001)
        process.kill()
        process.communicate()
        seen.append(max([int(path.stem[5:]) for path in (paths.training / "states").glob("*/step-*.json")], default=0))
    assert seen[0] > 0
    process = small_runs.start(tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert f"found the state of step {seen[-1]}" in output
    assert small_runs.hashes(paths.checkpoint) == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(tmp_path, monkeypatch, number, code, whole):
    step = loop.Trainer.step

    def signalled(self):
        step(self)
        if self.counters.step == 7:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "step", signalled)
        with pytest.raises(SystemExit) as stop:
            run(tmp_path, MODEL, **HARD)
    assert stop.value.code == code
    assert signal.getsignal(number) == before
    paths = Paths("mini", tmp_path)
    assert not paths.checkpoint.exists()
    assert (folder(paths) / "step-00000007.json").exists()  # between two that were due
    assert 'metroline_train_running{recipe="mini"} 0.0' in (paths.training / "metrics.prom").read_text()
    assert small_runs.hashes(run(tmp_path, MODEL, **HARD).checkpoint) == whole


def test_a_signal_during_validation_is_heeded_there(tmp_path, monkeypatch, whole):
    follow, lines = loop.Trainer.validate, []

    def signalled(self):
        if self.counters.step == 10 and not lines:
            lines.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
        return follow(self)

    monkeypatch.setattr(loop.Trainer, "validate", signalled)
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, MODEL, **HARD)
    assert stop.value.code == 143
    saved = read_json(folder(Paths("mini", tmp_path)) / "step-00000010.json")
    assert saved["counters"]["pending"]
    assert saved["counters"]["best_step"] == 5
    assert small_runs.hashes(run(tmp_path, MODEL, **HARD).checkpoint) == whole


def test_the_command_line_exits_with_143(tmp_path):
    paths = small_runs.project(tmp_path, MODEL, **{**HARD, "steps": 20_000})
    process = small_runs.start(tmp_path)
    deadline = time.monotonic() + 120
    while not list((paths.training / "states").glob("*/step-*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "stopped at step" in output


def test_a_second_signal_does_not_wait(monkeypatch):
    from pipelines.training.stop import Stopped, StopRequest

    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        with pytest.raises(Stopped) as error:
            signal.raise_signal(signal.SIGINT)
    assert error.value.code == 130


def damage(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "changed":
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder with a run that was killed after step 11 and keeps three states; to be copied."""
    root = tmp_path_factory.mktemp("killed")
    with killed_after(11):
        run(root, MODEL, **HARD, keep=3)
    return root


@pytest.mark.parametrize("how", ["cut", "changed", "empty", "gone"])
@pytest.mark.parametrize("name", ["step-{}.safetensors", "step-{}.json", "best-{}.safetensors"])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, capsys, killed, whole, how, name):
    states = folder(copy(killed, tmp_path))
    assert sorted(path.name for path in states.glob("step-*.json")) == ["step-00000004.json", "step-00000008.json"]
    damage(states / name.format("00000005" if "best" in name else "00000008"), how)
    capsys.readouterr()
    paths = run(tmp_path, MODEL, **HARD, keep=3)
    told = capsys.readouterr()
    if name == "step-{}.json" and how == "gone":
        assert "warning" not in told.out  # then it is a state that was never finished
    else:
        assert "warning" in told.out
        assert "step-00000008" in told.out
        assert "taking the state before it" in told.out
    assert "found the state of step 4" in told.err
    assert small_runs.hashes(paths.checkpoint) == whole


def test_curves_that_lost_lines_are_a_damaged_state(tmp_path, capsys, done, whole):
    paths = copy(done, tmp_path)
    (folder(paths) / "curves.jsonl").write_text("")
    run(tmp_path, MODEL, **HARD)
    assert "curves.jsonl has lost lines" in capsys.readouterr().out
    assert small_runs.hashes(paths.checkpoint) == whole


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.01}, {"steps": 31}, {"seed": 3}, {"log_every": 3}, {"model": {"dropout": 0.1, "width": 32}}],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_recipe_begins_anew_and_says_so(tmp_path, capsys, done, change):
    copy(done, tmp_path)
    changed = {"model": MODEL, **HARD, **change}
    paths = run(tmp_path, **changed)
    assert "training starts anew" in capsys.readouterr().err
    assert read_json(paths.checkpoint / "training.json")["steps"] == changed["steps"]
    fresh = run(tmp_path / "fresh", **changed)
    assert small_runs.hashes(paths.checkpoint) == small_runs.hashes(fresh.checkpoint)


def test_changed_data_begins_anew(tmp_path, capsys, done):
    small_runs.prepare(copy(done, tmp_path).prepared, seed=1)
    run(tmp_path, MODEL, **HARD)
    assert "training starts anew" in capsys.readouterr().err


def test_what_does_not_change_the_numbers_does_not_begin_anew(tmp_path, capsys, done, whole):
    paths = copy(done, tmp_path)
    step = loop.Trainer.step
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "step", lambda self: pytest.fail("it trained"))
        run(tmp_path, MODEL, **{**HARD, "save_every": 9, "keep": 1})
    assert "training is already done: found the state of step 30" in capsys.readouterr().err
    assert loop.Trainer.step is step
    assert small_runs.hashes(paths.checkpoint) == whole


def test_other_precision_is_said(tmp_path, capsys):
    with killed_after(9):
        run(tmp_path, **HARD)
    run(tmp_path, **{**HARD, "precision": "bf16"})
    assert "note: precision was fp32 and is bf16" in capsys.readouterr().err


def test_fp16_resumes_with_its_loss_scale(tmp_path):
    options = {**HARD, "precision": "fp16"}
    expected = small_runs.hashes(run(tmp_path / "whole", **options).checkpoint)
    with killed_after(13):
        run(tmp_path / "pieces", **options)
    saved = read_json(next((tmp_path / "pieces/artifacts/mini/training/states").glob("*/step-00000012.json")))
    assert saved["counters"]["scaler"]["scale"] > 1
    assert small_runs.hashes(run(tmp_path / "pieces", **options).checkpoint) == expected


def test_no_pickles(done):
    paths = Paths("mini", done)
    suffixes = {path.suffix for path in paths.training.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json", ".jsonl", ".prom"}
    assert not list(paths.training.rglob(".*"))


def test_states_of_other_formats_are_passed_over(tmp_path, capsys):
    states = States(tmp_path, 2)
    states.save(Counters(step=3), {"weight.x": torch.ones(2)}, {})
    assert states.newest() == 3
    path = tmp_path / "step-00000003.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    assert states.newest() is None
    assert "format 99" in capsys.readouterr().out


def test_a_full_disk_keeps_the_states_before(tmp_path, full_disk, whole):
    with killed_after(11):
        run(tmp_path, MODEL, **HARD)
    paths = Paths("mini", tmp_path)
    before = sorted(path.name for path in folder(paths).iterdir())
    assert "step-00000008.json" in before
    with full_disk(8_000), pytest.raises(MetrolineError) as caught:
        run(tmp_path, MODEL, **HARD)
    assert re.fullmatch(
        rf"cannot write {folder(paths)}/(best|step)-\d+.safetensors: File too large \(.*\)", str(caught.value)
    )
    assert sorted(path.name for path in folder(paths).iterdir()) == before
    assert not paths.checkpoint.exists()
    assert small_runs.hashes(run(tmp_path, MODEL, **HARD).checkpoint) == whole


def test_no_half_of_a_state_is_left_on_a_full_disk(tmp_path, monkeypatch, full_disk):
    from pipelines.training import state

    with full_disk(1 << 20):  # room for the tensors, none for the counters
        monkeypatch.setattr(state, "asdict", lambda counters: {"step": "x" * (1 << 21)})
        with pytest.raises(MetrolineError, match=r"cannot write .*step-00000004.json"):
            run(tmp_path, MODEL, **HARD)
    assert [path.name for path in folder(Paths("mini", tmp_path)).iterdir()] == ["curves.jsonl"]


def test_a_full_disk_while_logging(tmp_path, full_disk):
    paths = Paths("mini", tmp_path)
    small_runs.prepare(paths.prepared)
    with full_disk(200), pytest.raises(MetrolineError) as caught:
        run(tmp_path, MODEL, **HARD)
    assert str(caught.value).startswith(f"cannot write {paths.training}: File too large")
    assert not paths.checkpoint.exists()


def test_a_run_that_is_done_starts_anew_when_forced(tmp_path, monkeypatch, capsys, done, whole):
    paths = copy(done, tmp_path)
    step, steps = loop.Trainer.step, []
    monkeypatch.setattr(loop.Trainer, "step", lambda self: (steps.append(self.counters.step), step(self)))
    recipe = small_runs.recipe(MODEL, **HARD)
    train(recipe, paths)
    assert steps == [], "it only writes the checkpoint again"
    with killed_after(9):
        train(recipe, paths, anew=True)
    assert steps == list(range(9))
    assert "starts anew as asked" in capsys.readouterr().err
    steps.clear()
    train(recipe, paths, anew=True)
    assert steps == list(range(8, 30)), "one that was stopped goes on"
    assert small_runs.hashes(paths.checkpoint) == whole
