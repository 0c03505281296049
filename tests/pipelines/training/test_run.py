"""Training from prepared data to a checkpoint: what it writes, and that options do what they say."""

import json
import math
import urllib.request
import warnings

import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from safetensors.torch import load_file

from base.files import read_json
from models.decoder.huggingface import load
from pipelines.paths import Paths
from pipelines.training import device as machine
from pipelines.training.curves import read_curves
from pipelines.training.stage import train
from tests.pipelines.training import small_runs


def run(root, model=None, **options):
    """Train in a folder of its own; returns the paths and the curves."""
    paths = Paths("mini", root)
    if not paths.prepared.exists():
        small_runs.prepare(paths.prepared)
    train(small_runs.recipe(model, **options), paths)
    return paths, read_curves(paths.checkpoint / "curves.jsonl")


def losses(curves, key="loss"):
    return [line[key] for line in curves if key in line]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"))


def test_it_learns_and_writes_a_checkpoint(tmp_path):
    paths, curves = run(tmp_path, steps=60, evaluate_every=20, log_every=10)
    assert [line["step"] for line in curves] == [10, 20, 30, 40, 50, 60]
    assert losses(curves)[0] > 1.5
    assert losses(curves, "valid_loss")[-1] < 1.0  # counting is learnt; where a document ends cannot be
    files = {path.name for path in paths.checkpoint.iterdir()}
    assert files == {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "training.json", "curves.jsonl", "curves.png",
    }  # fmt: skip
    facts = read_json(paths.checkpoint / "training.json")
    assert facts["valid_loss"] == min(losses(curves, "valid_loss"))
    assert facts["tokens"] == curves[-1]["tokens"] == 60 * 4 * 16
    assert facts["parameters"] == load(paths.checkpoint).parameter_count


def test_the_checkpoint_has_the_validation_loss_it_claims(plain):
    from pipelines.tasks.language_modelling.learner import LanguageModelling

    paths, _ = plain
    task = LanguageModelling(small_runs.recipe(), paths.prepared)
    objective = task.objective(load(paths.checkpoint)).eval()
    with torch.no_grad():
        parts = [(float(objective(**batch.inputs)), batch.targets) for batch in task.validation(torch.device("cpu"))]
    loss = sum(part[0] for part in parts) / sum(part[1] for part in parts)
    assert loss == pytest.approx(read_json(paths.checkpoint / "training.json")["valid_loss"], rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adamw", "ema": 0.9}, {"optimizer": "lamb", "isolate_documents": True, "label_smoothing": 0.1}],
    ids=["muon", "adamw", "lamb"],
)
def test_twice_the_same_bytes(tmp_path, options):
    model = {"dropout": 0.1}
    first, _ = run(tmp_path / "a", model, **options)
    second, _ = run(tmp_path / "b", model, **options)
    assert small_runs.hashes(first.checkpoint) == small_runs.hashes(second.checkpoint)
    assert "model.safetensors" in small_runs.hashes(first.checkpoint)


def test_seed_changes_the_bytes(tmp_path, plain):
    other, _ = run(tmp_path, seed=2)
    name = "model.safetensors"
    assert small_runs.hashes(other.checkpoint)[name] != small_runs.hashes(plain[0].checkpoint)[name]


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_accumulation_changes_nothing_but_roundings(tmp_path, plain, micro_batch):
    _, curves = run(tmp_path, micro_batch=micro_batch)
    assert losses(curves) == pytest.approx(losses(plain[1]), abs=2e-4)
    assert [line["grad_norm"] for line in curves] == pytest.approx([line["grad_norm"] for line in plain[1]], rel=5e-3)


def test_accumulation_divides_by_tokens_not_by_pieces(tmp_path):
    """Pieces with unequal numbers of targets weigh by them: the gradient is that of the whole batch."""
    from pipelines.tasks.interface import Batch
    from pipelines.tasks.language_modelling.learner import LanguageModelling
    from pipelines.training.distributed import Group
    from pipelines.training.loop import Trainer
    from pipelines.training.state import States

    class Ragged(LanguageModelling):
        """Every other piece lacks most of its targets."""

        def batch(self, epochs, windows, sequence, device):
            batch = super().batch(epochs, windows, sequence, device)
            targets = batch.inputs["targets"].clone()
            targets[windows % 2 == 0, 2:] = -100
            return Batch({**batch.inputs, "targets": targets}, int((targets != -100).sum()), batch.flops)

    paths = Paths("mini", tmp_path)
    small_runs.prepare(paths.prepared)
    norms, sums = [], []
    for micro_batch in (None, 1):
        recipe = small_runs.recipe(micro_batch=micro_batch)
        task = Ragged(recipe, paths.prepared)
        trainer = Trainer(recipe.train, task, Group(0, 1, torch.device("cpu")), States(tmp_path / "states", 1))
        trainer.step()
        norms.append(trainer.counters.gradient_norm)
        sums.append(trainer.counters.loss_sum / trainer.counters.loss_targets)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_activation_checkpointing_changes_nothing(tmp_path, plain):
    _, with_dropout = run(tmp_path / "a", {"dropout": 0.2})
    _, recomputed = run(tmp_path / "b", {"dropout": 0.2}, activation_checkpointing=True)
    assert losses(recomputed) == losses(with_dropout)
    assert losses(with_dropout) != losses(plain[1])


@pytest.mark.parametrize(("precision", "within"), [("bf16", 0.05), ("fp16", 0.02)])
def test_low_precision_learns_alike(tmp_path, plain, precision, within):
    paths, curves = run(tmp_path, precision=precision)
    assert losses(curves) == pytest.approx(losses(plain[1]), abs=within)
    assert losses(curves) != losses(plain[1])
    assert read_json(paths.checkpoint / "training.json")["precision"] == precision
    assert load_file(paths.checkpoint / "model.safetensors")["model.norm.weight"].dtype == torch.float32


def test_averaged_weights_are_the_ones_validated_and_kept(tmp_path, plain):
    paths, curves = run(tmp_path, ema=0.5)
    assert losses(curves) == losses(plain[1])  # training itself is unchanged
    assert losses(curves, "valid_loss") != losses(plain[1], "valid_loss")
    own, other = (load_file(p.checkpoint / "model.safetensors") for p in (paths, plain[0]))
    assert any((own[name] != other[name]).any() for name in own)


def test_early_stopping_keeps_the_best(tmp_path, capfd):
    # A rate far too high: the loss does not go on falling.
    paths, curves = run(
        tmp_path, steps=100, evaluate_every=2, early_stopping=2, lr=0.5, adam_lr=0.5, schedule="constant"
    )
    valid = losses(curves, "valid_loss")
    facts = read_json(paths.checkpoint / "training.json")
    assert facts["stopped_early"]
    assert facts["steps"] < 100
    assert facts["step"] == facts["steps"] - 2 * 2
    assert facts["valid_loss"] == min(valid)
    told = f"was lowest at step {facts['step']} of {facts['steps']} ({min(valid):.3f}) and rose to {valid[-1]:.3f}"
    assert told in "".join(capfd.readouterr())


def test_phases_and_isolation_train(tmp_path):
    phases = [{"steps": 4, "batch": 8, "sequence": 8}]
    _, curves = run(tmp_path, phases=phases, isolate_documents=True)
    assert [line["tokens"] for line in curves] == [128, 256, 384, 512, 640, 768]
    assert losses(curves)[-1] < losses(curves)[0]


def test_a_run_without_validation_documents_keeps_the_last(tmp_path):
    paths = Paths("mini", tmp_path)
    small_runs.prepare(paths.prepared, {"train": 40, "valid": 0, "test": 0})
    train(small_runs.recipe(), paths)
    facts = read_json(paths.checkpoint / "training.json")
    assert facts["valid_loss"] is None
    assert facts["step"] == 12


def test_rotation_keeps_the_states_asked_for(tmp_path):
    paths, _ = run(tmp_path, keep=2, save_every=1)
    (folder,) = (paths.training / "states").iterdir()
    assert sorted(path.name for path in folder.glob("step-*.json")) == ["step-00000011.json", "step-00000012.json"]
    best = [path.name for path in folder.glob("best-*.safetensors")]
    assert sorted(best) == ["best-00000008.safetensors", "best-00000012.safetensors"]  # each state's own
    assert len(list(folder.iterdir())) == 2 + 2 + 2 + 1


def test_metrics(tmp_path, monkeypatch):
    seen = {}
    from pipelines.training import loop

    follow = loop.Trainer.follow

    def scrape(self, metrics):
        follow(self, metrics)
        if self.counters.step == 6:
            address = f"http://127.0.0.1:{port}/metrics"
            seen["text"] = urllib.request.urlopen(address, timeout=5).read().decode()

    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(loop.Trainer, "follow", scrape)
    monkeypatch.setenv("METROLINE_METRICS_PORT", str(port))
    paths, curves = run(tmp_path)

    def values(text):
        families = text_string_to_metric_families(text)
        return {sample.name: sample.value for family in families for sample in family.samples
                if sample.labels.get("recipe") == "mini"}  # fmt: skip

    assert values(seen["text"])["metroline_train_running"] == 1
    assert values(seen["text"])["metroline_train_loss"] == losses(curves)[2]
    final = values((paths.training / "metrics.prom").read_text())
    assert final["metroline_train_running"] == 0
    assert final["metroline_train_step"] == 12
    assert final["metroline_train_valid_loss"] == curves[-1]["valid_loss"]
    for name in ("loss", "tokens_per_second", "mfu_ratio", "gradient_norm", "step_seconds", "data_wait_seconds",
                 "last_success_timestamp_seconds"):  # fmt: skip
        assert final[f"metroline_train_{name}"] > 0
    assert final["metroline_train_mfu_ratio"] < 1
    timing = [json.loads(line) for line in (paths.training / "timing.jsonl").read_text().splitlines()]
    assert timing[0]["peak_flops"] > 1e8
    assert "matri" in timing[0]["peak_from"]
    assert sum(line["steps"] for line in timing[1:]) == 12
    assert all(line["data_wait_s"] < line["step_s"] for line in timing[1:])


def test_compile_falls_back_with_one_warning(tmp_path, monkeypatch, plain):
    def no_compiler(*arguments, **options):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", lambda module: no_compiler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, curves = run(tmp_path, compile="on")
    told = [str(warning.message) for warning in caught if "torch.compile" in str(warning.message)]
    assert told == ["torch.compile does not work here, training goes on without it: no C++ compiler found"]
    assert losses(curves) == losses(plain[1])


def test_compiled_training_gives_the_same_losses(tmp_path, plain):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        _, curves = run(tmp_path, compile="on")
    assert losses(curves) == pytest.approx(losses(plain[1]), abs=1e-3)


def test_compile_is_for_gpus_unless_asked(monkeypatch):
    module = torch.nn.Linear(2, 2)
    assert not machine.Compiled(module, "auto", torch.device("cpu")).active
    assert machine.Compiled(module, "auto", torch.device("cuda")).active
    assert not machine.Compiled(module, "off", torch.device("cuda")).active


def test_real_errors_pass_through_the_compiled_call():
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise ValueError("wrong shape")

    with pytest.warns(UserWarning, match="torch.compile"), pytest.raises(ValueError, match="wrong shape"):
        machine.Compiled(Broken(), "on", torch.device("cpu"))(torch.ones(2))


def test_global_random_generators_are_left_alone(tmp_path):
    import random

    import numpy as np

    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    run(tmp_path, {"dropout": 0.1})
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_curves_picture_is_a_png(plain):
    assert (plain[0].checkpoint / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert all(math.isfinite(line["loss"]) for line in plain[1])
