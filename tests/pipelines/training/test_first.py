"""First weights out of another recipe's checkpoint, stage by stage; tests/e2e/test_bases.py has them under DVC."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from base.errors import MetrolineError
from base.files import read_json, write_json
from data.fetch.own_files import WEIGHTS
from data.fetch.sources import pin
from models.decoder.huggingface import load
from pipelines.line import stages
from pipelines.paths import Paths
from pipelines.recipe.load import load as load_recipe
from pipelines.training import first
from pipelines.training.loop import Trainer
from tests.gguf_files import vocabulary, write_llama
from tests.pipelines.training.test_imported import TEXT, decoder

TRAIN = {"steps": 3, "batch": 4, "sequence": 16, "lr": 1e-3, "warmup": 0, "evaluate_every": 3, "device": "cpu",
         "precision": "fp32"}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the imported recipe `first`, up to its checkpoint, and `second`, of which nothing was run."""
    root = tmp_path_factory.mktemp("project")
    weights = write_llama(tmp_path_factory.mktemp("weights") / "small.gguf", decoder(len(vocabulary()[0])))
    write(root, "first", pretrained={"source": pin(weights, suffixes=WEIGHTS).model_dump()})
    write(root, "second", pretrained={"source": {"kind": "recipe", "name": "first"}}, train=TRAIN)
    run(root, "first", "fetch prepare train")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def write(root: Path, name: str, **sections: Any) -> None:
    values = {
        "description": "text", "licence": "public domain", "source": pin(TEXT).model_dump(),
        "split": {"valid": 0.1, "test": 0.1},
        "data": {"documents": {"separator": "\n\n"}, "tokenizer": {"kind": "pretrained"}},
    }  # fmt: skip
    (root / "pipelines/recipes").mkdir(parents=True, exist_ok=True)
    (root / f"pipelines/recipes/{name}.yaml").write_text(yaml.safe_dump({**values, **sections}))


def run(root: Path, recipe: str, names: str) -> None:
    for name in names.split():
        stages.STAGES[name].function(load_recipe(recipe, root), Paths(recipe, root))


def test_training_goes_on_from_the_other_checkpoint(root: Path) -> None:
    run(root, "second", "fetch base prepare train")
    first, second = Paths("first", root), Paths("second", root)
    before, after = load(first.checkpoint).state_dict(), load(second.checkpoint).state_dict()
    assert before.keys() == after.keys()
    assert 0 < max(float((before[name] - after[name]).abs().max()) for name in before) < 0.1
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (second.checkpoint / name).read_bytes() == (first.checkpoint / name).read_bytes()
    record = read_json(second.checkpoint / "training.json")
    assert list(record["began_with"]) == ["model.safetensors"]
    assert record["steps"] == 3


def test_without_keys_it_is_imported(root: Path) -> None:
    write(root, "second", pretrained={"source": {"kind": "recipe", "name": "first"}})
    run(root, "second", "fetch base prepare train")
    ids = torch.arange(20).reshape(1, 20)
    assert torch.equal(load(Paths("second", root).checkpoint)(ids), load(Paths("first", root).checkpoint)(ids))


def test_what_only_tells_of_its_training_changes_nothing(root: Path) -> None:
    run(root, "second", "fetch base")
    record = Paths("second", root).base
    before = record.read_bytes()
    write_json(Paths("first", root).checkpoint / "training.json", {"another": "run"})
    run(root, "second", "base")
    assert record.read_bytes() == before


def test_missing_and_changed_checkpoints_stop_the_stage(root: Path) -> None:
    run(root, "second", "fetch")
    for stage in ("prepare", "train"):
        with pytest.raises(MetrolineError, match=r"base\.json is missing .metroline stage base second"):
            run(root, "second", stage)
    run(root, "second", "base prepare")
    checkpoint = Paths("first", root).checkpoint
    (checkpoint / "chat_template.jinja").write_text("another")
    with pytest.raises(MetrolineError, match="second: the checkpoint of first that it begins with has changed"):
        run(root, "second", "train")
    shutil.rmtree(checkpoint)
    for stage in ("base", "prepare", "train"):
        with pytest.raises(MetrolineError, match=r"second: there is no checkpoint of first, .*metroline run first"):
            run(root, "second", stage)


def test_names_that_cannot_be(root: Path) -> None:
    write(root, "second", pretrained={"source": {"kind": "recipe", "name": "frist"}})
    run(root, "second", "fetch")
    with pytest.raises(MetrolineError, match=r"no recipe 'frist' in .*did you mean first"):
        run(root, "second", "base")
    write(root, "second", pretrained={"source": {"kind": "recipe", "name": "second"}})
    with pytest.raises(MetrolineError, match=r"pretrained\.source\.name: a recipe cannot begin with its own"):
        load_recipe("second", root)


def test_every_file_of_weights_counts_but_not_the_adapter_of_a_checkpoint(tmp_path: Path) -> None:
    for name in ("a/model.pth", "b/model.pth", "model.safetensors", "adapter/adapter_model.safetensors", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = first.hashes(tmp_path)
    assert set(found) == {"a/model.pth", "b/model.pth", "model.safetensors"}
    assert len(set(found.values())) == 3


def test_weights_that_change_while_others_train_on_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint reads them again at the end: they must be those that were trained on."""
    adapter = {"kind": "lora", "rank": 2, "alpha": 4, "targets": ["q_proj"]}
    write(
        root, "second", pretrained={"source": {"kind": "recipe", "name": "first"}}, train={**TRAIN, "adapter": adapter}
    )
    run(root, "second", "fetch base prepare")
    path = Paths("first", root).checkpoint / "model.safetensors"
    step = Trainer.step

    def meanwhile(self: Trainer) -> None:
        step(self)
        weights = load_file(path)
        save_file({name: weight + 0.01 for name, weight in weights.items()}, path, {"format": "pt"})

    monkeypatch.setattr(Trainer, "step", meanwhile)
    with pytest.raises(MetrolineError, match="the first weights have changed while training went on from them"):
        run(root, "second", "train")
    assert not Paths("second", root).checkpoint.exists()
