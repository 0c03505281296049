"""Training an adapter through the stage: what moves, what is written, and that a killed run arrives at its bytes."""

import hashlib
import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from base.errors import MetrolineError
from base.files import read_json
from models import adapter_files
from models.decoder.huggingface import load, published
from models.vit.config import Config as ViTConfig
from models.vit.network import build as build_vit
from pipelines.paths import Paths
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.train_section import TrainConfig
from pipelines.training import loop
from pipelines.training.adapter import added, network_of
from pipelines.training.stage import train
from tests.pipelines.training import small_runs
from tests.pipelines.training.small_runs import killed_after
from tests.pipelines.training.test_first import TRAIN, made, run, write

__all__ = ["made"]  # the fixture

ADAPTER = {"kind": "lora", "rank": 4, "alpha": 8, "targets": ["*"]}
BASE = {"source": {"kind": "recipe", "name": "first"}}
LONG = {**TRAIN, "steps": 20, "save_every": 3, "evaluate_every": 5, "log_every": 2, "ema": 0.9, "lr": 0.01}


def tune(made: Path, folder: Path, adapter: dict[str, Any] = ADAPTER, **options: Any) -> Paths:
    """The recipe `second`, which tunes `first` with an adapter, up to prepare."""
    root = Path(shutil.copytree(made, folder))
    write(root, "second", pretrained=BASE, train={**TRAIN, **options, "adapter": adapter})
    run(root, "second", "fetch base prepare")
    return Paths("second", root)


def fit(paths: Paths) -> Paths:
    train(load_recipe("second", paths.root), paths)
    return paths


@pytest.mark.parametrize(
    ("kind", "base"), [(kind, "float32") for kind in ("lora", "rslora", "dora")] + [("lora", "nf4")]
)
def test_what_is_written_is_the_base_with_the_adapter(kind: str, base: str, made: Path, tmp_path: Path) -> None:
    adapter = {**ADAPTER, "kind": kind, "base": base}
    paths = fit(tune(made, tmp_path / "project", adapter, steps=8, lr=0.01))
    first = Paths("first", paths.root).checkpoint
    folder = paths.checkpoint / "adapter"
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    base_hash = hashlib.sha256((first / "model.safetensors").read_bytes()).hexdigest()
    config = read_json(folder / "adapter_config.json")
    assert config["base_sha256"] == base_hash
    assert config["base_model_name_or_path"] == "artifacts/first/checkpoint"
    network, merged = load(first), load(paths.checkpoint)
    before, after = network.state_dict(), merged.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}
    adapter_files.read(folder, network, base_sha256=base_hash, published=lambda name: published(network.config, name))
    ids = torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        assert float((network(ids) - merged(ids)).abs().max()) <= 1e-4
        assert float((load(first)(ids) - merged(ids)).abs().max()) > 1e-3
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "config.json"):
        assert (paths.checkpoint / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.parametrize("base", ["float32", "nf4"])
def test_states_hold_the_adapter_alone(base: str, made: Path, tmp_path: Path) -> None:
    paths = fit(tune(made, tmp_path / "project", {**ADAPTER, "base": base}, ema=0.9))
    for path in (paths.training / "states").glob("*/*.safetensors"):
        names = {name.rpartition(".")[2] for name in load_file(path)}
        assert names == {"lora_a", "lora_b"}, path
    record = read_json(paths.checkpoint / "training.json")
    assert record["trained"] == sum(weight.numel() for weight in load_file(
        paths.checkpoint / "adapter/adapter_model.safetensors").values())  # fmt: skip
    assert record["parameters"] == load(paths.checkpoint).parameter_count


def test_it_learns_and_a_full_fine_tune_has_no_adapter(made: Path, tmp_path: Path) -> None:
    curves = []
    for name, adapter in (("adapter", ADAPTER), ("full", None)):
        paths = tune(made, tmp_path / name, adapter, steps=30, lr=0.01, log_every=1, evaluate_every=30)
        fit(paths)
        assert (paths.checkpoint / "adapter").is_dir() == (adapter is not None)
        losses = [
            float(loss) for loss in re.findall(r'"loss": ([\d.]+)', (paths.checkpoint / "curves.jsonl").read_text())
        ]
        curves.append(losses)
        assert sum(losses[-5:]) / 5 < losses[0] - 0.2
    assert curves[0][0] == pytest.approx(curves[1][0], abs=1e-4), "both begin with the base"


def test_frozen_weights_that_change_stop_the_run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.Trainer.step

    def touching(self: loop.Trainer) -> None:
        step(self)
        with torch.no_grad():
            next(iter(self.frozen.values())).view(-1)[3] += 1e-3

    monkeypatch.setattr(loop.Trainer, "step", touching)
    paths = tune(made, tmp_path / "project")
    with pytest.raises(MetrolineError, match="weights that were frozen have changed"):
        fit(paths)
    assert not paths.checkpoint.exists()


def test_an_adapter_without_effect_stops_the_run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was with modules that are wrapped, whose weights the decoder reads itself."""
    paths = tune(made, tmp_path / "project")
    monkeypatch.setattr(
        "models.decoder.model.project",
        lambda x, linears, gain: torch.nn.functional.linear(x * gain, torch.cat([part.weight for part in linears])),
    )
    with pytest.raises(MetrolineError, match=r"does not call layers\.0\.self_attn\.q_proj, so an adapter on it has no"):
        fit(paths)


@pytest.mark.parametrize("adapter", [{"kind": "dora"}, {"base": "nf4"}], ids=["dora", "nf4"])
def test_stopping_after_every_step_changes_nothing(adapter: dict[str, str], made: Path, tmp_path: Path) -> None:
    options = {**LONG, "steps": 7, "save_every": 1}
    whole = fit(tune(made, tmp_path / "whole", {**ADAPTER, **adapter}, **options))
    pieces = tune(made, tmp_path / "pieces", {**ADAPTER, **adapter}, **options)
    for number in range(1, 7):
        with killed_after(number):
            fit(pieces)
    assert small_runs.hashes(fit(pieces).checkpoint) == small_runs.hashes(whole.checkpoint)


def test_sigkill_at_random_moments(made: Path, tmp_path: Path) -> None:
    whole = fit(tune(made, tmp_path / "whole", **LONG))
    pieces = tune(made, tmp_path / "pieces", **LONG)
    draw = random.Random(1)
    for _ in range(3):
        process = small_runs.start(pieces.root, recipe="second")
        before, target = reached(pieces), reached(pieces) + draw.randint(1, 5)
        while process.poll() is None and reached(pieces) < target:
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert reached(pieces) > before
    assert not pieces.checkpoint.exists()
    assert small_runs.hashes(fit(pieces).checkpoint) == small_runs.hashes(whole.checkpoint)


def reached(paths: Paths) -> int:
    return max((int(path.stem[5:]) for path in (paths.training / "states").glob("*/step-*.json")), default=0)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"pretrained": {}, "data": {}}, r"train\.adapter: it is trained on weights that are there"),
        ({"pretrained": {**BASE, "freeze": True}}, r"pretrained\.freeze: train\.adapter freezes"),
        ({"train": {"adapter": {"rank": 0}}}, r"train\.adapter\.rank: "),
        ({"train": {"adapter": {"kind": "lokr"}}}, r"train\.adapter\.kind: "),
        ({"train": {"adapter": {"alpha": float("inf")}}}, r"train\.adapter\.alpha: "),
        ({"train": {"adapter": {"targets": []}}}, r"train\.adapter\.targets: "),
        ({"train": {"adapter": {"ranks": 3}}}, r"train\.adapter\.ranks: unknown key, did you mean rank\?"),
    ],
)
def test_recipes_that_cannot_be(sections: dict[str, Any], message: str, made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    write(root, "second", **{"pretrained": BASE, "train": {"adapter": ADAPTER}, **sections})
    with pytest.raises(MetrolineError, match=message) as caught:
        load_recipe("second", root)
    assert "\n" not in str(caught.value)


def test_layers_that_are_not_there_are_found_before_a_step(made: Path, tmp_path: Path) -> None:
    paths = tune(made, tmp_path / "project", {**ADAPTER, "targets": ["q_poj"]})
    with pytest.raises(MetrolineError, match=r"train\.adapter: no linear layer is called q_poj; did you mean q_proj\?"):
        fit(paths)


class Head:
    """As much of a learner as an adapter asks: a small ViT whose head is new."""

    outer, fresh = ("head.weight",), ("head",)

    def network(self, generator: torch.Generator) -> torch.nn.Module:
        return build_vit(ViTConfig(patch=4, width=32, layers=1, heads=2), (3, 8, 8), 5, generator)


def test_a_new_head_is_trained_whole_and_written_beside_the_adapter(tmp_path: Path) -> None:
    config = TrainConfig.model_validate({"adapter": ADAPTER})
    task: Any = Head()
    network = network_of(task, config, torch.Generator().manual_seed(0))
    learning = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert {name for name in learning if ".lora_" not in name} == {"head.weight", "head.bias"}
    assert added(network) == sum(w.numel() for n, w in network.named_parameters() if ".lora_" in n)
    adapter_files.write(network, tmp_path, base=None, base_sha256="0", published=str, whole=task.fresh)
    assert read_json(tmp_path / "adapter_config.json")["modules_to_save"] == ["head"]
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert torch.equal(stored["base_model.model.head.weight"], network.get_parameter("head.weight"))
