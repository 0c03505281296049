"""Supervised training that begins with the weights of others: they are in the network, all of it learns or the head."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from base.errors import MetrolineError
from models.lenet import network as lenet
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.recipe.schema import Recipe
from pipelines.tasks.supervised.learner import Supervised
from pipelines.tasks.supervised.network import Network, load
from pipelines.training.stage import train
from tests.pipelines.tasks.supervised.small_images import recipe, trained

SOURCE = {"kind": "file", "path": "weights", "sha256": "0" * 64}


def first(body: nn.Module, files: Path) -> None:
    """Weights under the body's own names, without a head."""
    missing, unknown = body.load_state_dict(load_file(files / "model.safetensors"), strict=False)
    assert set(missing) == {"head.weight", "head.bias"}
    assert not unknown


def shaped(config: lenet.Config, files: Path) -> lenet.Config:
    """As wide as the files say."""
    return config.model_copy(update={"hidden": load_file(files / "model.safetensors")["hidden.weight"].shape[0]})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Paths, dict[str, torch.Tensor]]:
    """A prepared recipe, and another's network of bars as fetched weights."""
    _, paths = trained(tmp_path_factory.mktemp("first"))
    weights = load_file(paths.checkpoint / "model.safetensors")
    body = {name.removeprefix("body."): weight for name, weight in weights.items() if name.startswith("body.")}
    body = {name: weight for name, weight in body.items() if not name.startswith("head.")}
    (paths.pretrained / "files").mkdir(parents=True)
    save_file(body, paths.pretrained / "files/model.safetensors")
    return paths, body


@pytest.fixture(autouse=True)
def hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lenet, "first", first, raising=False)
    monkeypatch.setattr(lenet, "shaped", shaped, raising=False)
    monkeypatch.setattr(kinds, "takes_first_weights", lambda kind: True)  # which reads the file


def test_which_models_take_first_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [kind for kind in ("efficientnet", "encoder", "lenet", "decoder") if kinds.takes_first_weights(kind)] == [
        "efficientnet", "encoder"
    ]  # fmt: skip


def fine_tuned(freeze: bool = False, **changes: Any) -> Recipe:
    model = {"kind": "lenet", "widths": [4, 8]}
    return recipe(model=model, pretrained={"source": SOURCE, "freeze": freeze}, **changes)


def test_the_network_begins_with_them_and_a_new_head(pretrained: tuple[Paths, dict[str, torch.Tensor]]) -> None:
    paths, body = pretrained
    network = Supervised(fine_tuned(), paths.prepared, paths.pretrained / "files").network(torch.Generator())
    for name, weight in body.items():
        assert torch.equal(network.body.state_dict()[name], weight), name
    assert not network.body.state_dict()["head.weight"].any()
    assert all(weight.requires_grad for weight in network.parameters())


def test_all_of_it_learns_and_the_checkpoint_knows_its_shape(
    pretrained: tuple[Paths, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    paths, body = pretrained
    shutil.copytree(paths.root, tmp_path / "copy")
    own, made = Paths("bars", tmp_path / "copy"), fine_tuned()
    train(made, own)
    learner = Supervised(made, own.prepared, own.pretrained / "files")
    network, facts = load(made.model, learner.train.index, own.checkpoint)
    assert facts["model"]["hidden"] == 8
    assert made.model.hidden != 8
    assert all(not torch.equal(network.body.state_dict()[name], weight) for name, weight in body.items())


def test_a_frozen_body_takes_no_gradient_and_stays_in_evaluation_mode(
    pretrained: tuple[Paths, dict[str, torch.Tensor]],
) -> None:
    paths, body = pretrained
    learner = Supervised(fine_tuned(freeze=True), paths.prepared, paths.pretrained / "files")
    network = learner.network(torch.Generator())
    objective = learner.objective(network).train()
    learning = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert learning == {"body.head.weight", "body.head.bias"}
    batch = learner.batch(*(2 * [torch.arange(4).numpy()]), 0, torch.device("cpu"))
    objective(**batch.inputs).backward()
    assert {name for name, weight in network.named_parameters() if weight.grad is not None} == learning
    assert network.training
    assert {name for name, part in network.body.named_children() if part.training} == {"head"}
    assert all(torch.equal(network.body.state_dict()[name], weight) for name, weight in body.items())


def test_a_checkpoint_of_another_shape_than_the_recipe_says(
    pretrained: tuple[Paths, dict[str, torch.Tensor]],
) -> None:
    paths, _ = pretrained
    index = Supervised(fine_tuned(), paths.prepared, paths.pretrained / "files").train.index
    with pytest.raises(MetrolineError, match=r"the checkpoint has model\.hidden 8, the recipe 9 \(train again\)"):
        load(lenet.Config(widths=(4, 8), hidden=9), index, paths.checkpoint)


def test_missing_files_are_named(pretrained: tuple[Paths, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    with pytest.raises(MetrolineError, match=r"gone is missing \(metroline stage fetch RECIPE\)"):
        Supervised(fine_tuned(), pretrained[0].prepared, tmp_path / "gone")


def test_contradictions_are_found_when_the_recipe_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(problems(fine_tuned())) == []
    assert next(problems(fine_tuned(train={}))).startswith("train: nothing is learnt without keys")
    assert "nothing to freeze" in next(problems(recipe(pretrained={"freeze": True})))
    monkeypatch.undo()
    assert "lenet takes no weights of others" in next(problems(fine_tuned()))


TEXT = {"kind": "text", "tokenizer": {"kind": "pretrained"}}


@pytest.mark.parametrize(
    ("data", "source", "message"),
    [
        (TEXT, None, "data.tokenizer.kind: pretrained needs pretrained.source"),
        ({"kind": "text"}, SOURCE, "data.tokenizer.kind: with pretrained.source it must be pretrained, not bpe"),
        ({**TEXT, "lowercase": True}, SOURCE, "data.lowercase: has no effect with a pretrained tokenizer"),
    ],
)
def test_the_tokenizer_goes_with_the_weights(data: dict[str, Any], source: Any, message: str) -> None:
    assert message in next(problems(recipe(data=data, pretrained={"source": source})))


def test_a_network_is_a_module_in_both_modes() -> None:
    """`train` and `eval` of one that is not frozen are those of PyTorch."""
    network = Network(nn.Identity(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)), torch.zeros(2), torch.ones(2))
    assert all(part.training for part in network.train().modules())
    assert not any(part.training for part in network.eval().modules())
