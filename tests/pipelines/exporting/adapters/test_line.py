"""A base with room and an adapter of it alone: trained, exported, released; refused what does not fit."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from base import manifest
from base.errors import MetrolineError
from base.files import read_json, sha256, write_json
from data.text.instructions import prepare
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe.consistency import problems
from pipelines.recipe.schema import Recipe
from pipelines.release.adapters import retire
from pipelines.release.live import rollback
from pipelines.release.stage import release
from pipelines.release.store import Pointers, Store
from pipelines.training.first import folder, write_base
from pipelines.training.stage import train
from tests import chats
from tests.pipelines.tasks.instruction import small_chats

BASE, ADAPTER = "taught", "tuned"
EXPORT = small_chats.values()["export"]
TRAIN = small_chats.TRAIN | {"steps": 12, "evaluate_every": 12, "save_every": 12}
ALONE = {
    "name": ADAPTER,
    "pretrained": {"source": {"kind": "recipe", "name": BASE}},
    "train": TRAIN | {"adapter": {"kind": "lora", "rank": 4, "alpha": 8}},
    "export": EXPORT | {"merged": False, "int8_tolerance": 0.1, "tolerance": 0.002},
}


def base_recipe(**more: object) -> Recipe:
    return small_chats.recipe(train=TRAIN, export=EXPORT | {"adapters": 1, **more})


def adapter_recipe(**sections: object) -> Recipe:
    return small_chats.recipe(**(ALONE | sections))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a base that has room for one adapter and an adapter, both exported."""
    root = tmp_path_factory.mktemp("adapters")
    base, recipe = small_chats.prepared(root), base_recipe()
    train(recipe, base)
    evaluate(recipe, base, base.pretrained)
    export(recipe, base)
    (root / "pipelines/recipes").mkdir(parents=True)
    for name in (BASE, ADAPTER):
        (root / f"pipelines/recipes/{name}.yaml").write_text(yaml.safe_dump({"description": name}))
    paths, recipe = Paths(ADAPTER, root), adapter_recipe()
    chats.fetched(paths.raw, chats.write_rows(paths.raw / "files/rows.jsonl", chats.rows()))
    write_base(recipe, paths)
    prepare(paths.raw, paths.prepared, recipe.data, recipe.split, base.checkpoint)
    train(recipe, paths)
    evaluate(recipe, paths, folder(recipe, paths))
    export(recipe, paths)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "store"))
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_the_bundle_holds_the_adapter_alone_and_proves_it(made: Path) -> None:
    bundle, base = Paths(ADAPTER, made).bundle, Paths(BASE, made).bundle
    files = manifest.verify(bundle)["files"]
    assert {"adapter.fp32.npy", "adapter.int8.npy", "adapter/adapter_model.safetensors"} <= files.keys()
    assert not any(name.endswith((".onnx", "model.safetensors")) and "/" not in name for name in files)
    said = read_json(bundle / "adapter.json")
    assert said["base_sha256"] == sha256(Paths(BASE, made).checkpoint / "model.safetensors")
    parity = read_json(bundle / "parity.json")
    assert parity["onnx"]["max_abs"] <= 0.002
    for form in ("onnx", "int8"):
        assert abs(parity[form]["loss_delta"]) <= 0.1
    assert manifest.verify(base)["model"]["adapters"] == 1
    weights = np.load(bundle / "adapter.int8.npy")
    assert weights.any()


def test_a_base_with_room_computes_what_it_did(made: Path, tmp_path: Path) -> None:
    """The same base without room: equal losses of the quantized graph, to the last digit."""
    copied = shutil.copytree(made, tmp_path / "copy")
    paths = Paths(BASE, copied)
    export(base_recipe(adapters=0), paths)
    before, after = read_json(paths.bundle / "parity.json"), read_json(Paths(BASE, made).bundle / "parity.json")
    assert after["int8"]["loss"] == before["int8"]["loss"]
    assert not (paths.bundle / "adapters.json").exists()


def test_release_rollback_and_retirement(root: Path) -> None:
    store, base, adapter = Store.of(root), Paths(BASE, root), Paths(ADAPTER, root)
    with pytest.raises(MetrolineError, match="nothing is live"):
        release(adapter_recipe(), adapter)
    release(base_recipe(), base)
    release(adapter_recipe(), adapter)
    live = store.pointers(ADAPTER).live
    assert live is not None

    other = _copied(base.bundle, root / "other", "model.safetensors", b"other weights")
    shutil.rmtree(base.bundle)
    other.rename(base.bundle)
    with pytest.raises(MetrolineError, match=f"cannot be live while {ADAPTER} is: it was trained on other weights"):
        release(base_recipe(), base)
    assert store.pointers(BASE).previous is None

    tag = f"{BASE}:{manifest.verify(base.bundle)['version']}"
    store.put(base.bundle, tag, {})
    was = store.pointers(BASE).live
    store.point(BASE, Pointers(live=was, previous=tag))
    with pytest.raises(MetrolineError, match="cannot be live"):
        rollback(BASE, root)
    assert store.pointers(BASE).live == was

    second = Paths("second", root)
    _named(adapter.bundle, second.bundle, "second")
    with pytest.raises(MetrolineError, match="has room for 1 adapters, and tuned are live"):
        release(adapter_recipe(name="second"), second)
    assert retire(store, ADAPTER) == live
    release(adapter_recipe(name="second"), second)
    for name, said in ((ADAPTER, "nothing of tuned is live"), (BASE, "a model of its own")):
        with pytest.raises(MetrolineError, match=said):
            retire(store, name)
    retire(store, "second")
    assert rollback(BASE, root) == tag
    with pytest.raises(MetrolineError, match="trained on other weights"):
        release(adapter_recipe(), adapter)


def test_an_adapter_that_does_not_fit_is_not_exported(root: Path) -> None:
    paths = Paths(ADAPTER, root)
    weights = paths.adapter / "adapter_model.safetensors"
    config = paths.adapter / "adapter_config.json"
    kept, said = load_file(weights), read_json(config)
    first = next(iter(kept))

    def fails(match: str) -> None:
        with pytest.raises(MetrolineError, match=match) as raised:
            export(adapter_recipe(), paths)
        assert "\n" not in str(raised.value).partition("\nhint")[0]
        assert not paths.bundle.exists()

    save_file({**kept, first: torch.full_like(kept[first], float("nan"))}, weights)
    fails("finite")
    save_file(kept, weights)
    write_json(config, said | {"base_sha256": "0" * 64})
    fails("adapter of other weights")
    write_json(config, said | {"r": 16})
    fails("lora_A|lora_a|rank|shape")
    write_json(config, said)
    weights.rename(weights.with_name("adapter_model.bin"))
    fails("is a pickle")
    weights.with_name("adapter_model.bin").rename(weights)
    room = Paths(BASE, root).bundle
    for name in ("adapters.json", "adapters.safetensors"):
        (room / name).unlink()
    manifest.write(room, {key: value for key, value in read_json(room / "manifest.json").items() if key != "files"})
    fails("without room for adapters")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"train": TRAIN}, "no train.adapter"),
        ({"train": TRAIN | {"adapter": {"kind": "dora", "rank": 4, "alpha": 8}}}, "DoRA"),
        ({"train": TRAIN | {"adapter": {"kind": "lora", "rank": 4, "alpha": 8, "base": "nf4"}}}, "in four bits"),
        ({"pretrained": small_chats.values()["pretrained"]}, "must be {kind: recipe}"),
        ({"export": EXPORT | {"merged": False, "adapters": 2}}, "no room for others"),
        ({"name": "0123456789ab"}, "version of the base"),
    ],
)
def test_recipes_that_make_no_sense(sections: dict, said: str) -> None:
    assert any(said in each for each in problems(adapter_recipe(**sections)))


def _copied(bundle: Path, target: Path, name: str, content: bytes) -> Path:
    shutil.copytree(bundle, target)
    (target / name).write_bytes(content)
    manifest.write(target, {k: v for k, v in read_json(target / "manifest.json").items() if k != "files"})
    return target


def _named(bundle: Path, target: Path, name: str) -> None:
    shutil.copytree(bundle, target)
    write_json(target / "manifest.json", read_json(target / "manifest.json") | {"name": name})
