"""Stage release, rollback and the model store: whole at any moment, also when killed or raced."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from base import manifest
from base.delivery import Plan
from base.errors import MetrolineError
from base.files import read_json, write_json
from pipelines.paths import Paths
from pipelines.release import live, store
from pipelines.release.live import rollback
from pipelines.release.stage import release
from pipelines.release.store import Pointers, Store
from tests.pipelines import small_line

Bundle = Callable[..., Paths]


@pytest.fixture
def bundle(tmp_path: Path, store_home: Path) -> Bundle:
    """Make (or replace) a small bundle: real files and manifest, made-up graph and numbers."""

    def make(text: str = "one", *, bits: float = 1.0, name: str = "mini") -> Paths:
        paths = Paths("mini", tmp_path / "project")
        paths.bundle.mkdir(parents=True, exist_ok=True)
        (paths.bundle / "model.onnx").write_text(text)
        (paths.bundle / "serving.json").write_text("{}")
        values = {
            "name": name,
            "data_hash": "d" * 64,
            "metrics": {
                "test": {"bits_per_byte": bits, "loss": 3.0},
                "baselines": {"weakest_bits_per_byte": 2.0},
                "primary": {
                    "metric": "test.bits_per_byte",
                    "better": "lower",
                    "floor": "baselines.weakest_bits_per_byte",
                },
            },
            "parity": {"onnx": {"max_abs": 1e-6}, "int8": {"loss_delta": 0.001}},
        }
        manifest.write(paths.bundle, values)
        return paths

    return make


def tag(paths: Paths) -> str:
    return f"mini:{read_json(paths.bundle / 'manifest.json')['version']}"


def pointers() -> Pointers:
    return Store.of(Path("nowhere")).pointers("mini")


def test_a_release_is_live_and_in_bentomls_store(bundle: Bundle, store_home: Path) -> None:
    paths = bundle()
    release(small_line.recipe(gates=["int8.loss_delta <= 0.01"]), paths)
    assert pointers() == Pointers(live=tag(paths), previous=None)
    assert read_json(paths.release) == {
        "tag": tag(paths),
        "version": tag(paths).split(":")[1],
        "data_hash": "d" * 64,
        "gates": {"test.bits_per_byte < baselines.weakest_bits_per_byte": 1.0, "int8.loss_delta <= 0.01": 0.001},
    }
    import bentoml
    from bentoml._internal.models import ModelStore

    model = bentoml.models.get(tag(paths), _model_store=ModelStore(store_home / "models"))
    assert Path(model.path_of("model.onnx")).read_text() == "one"
    assert bentoml.models.get("mini:latest", _model_store=ModelStore(store_home / "models")).tag == model.tag
    assert not list((store_home / "metroline").glob(".incoming*"))


def test_the_same_version_again_changes_nothing(bundle: Bundle, store_home: Path) -> None:
    paths = bundle()
    release(small_line.recipe(), paths)
    before = {path: path.stat().st_mtime_ns for path in (store_home / "models").rglob("*")}
    record = paths.release.read_bytes()
    release(small_line.recipe(), paths)
    assert {path: path.stat().st_mtime_ns for path in (store_home / "models").rglob("*")} == before
    assert pointers() == Pointers(live=tag(paths), previous=None)
    assert paths.release.read_bytes() == record


def test_rollback_swaps_and_swaps_back(bundle: Bundle) -> None:
    old = tag(bundle("one"))
    release(small_line.recipe(), bundle("one"))
    release(small_line.recipe(), bundle("two"))
    new = tag(bundle("two"))
    assert pointers() == Pointers(live=new, previous=old)
    assert rollback("mini") == old
    assert pointers() == Pointers(live=old, previous=new)
    assert rollback("mini") == new
    assert pointers() == Pointers(live=new, previous=old)


def test_releasing_after_a_rollback_makes_it_live_again(bundle: Bundle) -> None:
    release(small_line.recipe(), bundle("one"))
    release(small_line.recipe(), bundle("two"))
    rollback("mini")
    release(small_line.recipe(), bundle("two"))
    assert pointers() == Pointers(live=tag(bundle("two")), previous=tag(bundle("one")))


def test_a_failed_gate_releases_nothing_and_shows_all(bundle: Bundle, store_home: Path) -> None:
    paths = bundle(bits=1.7)
    with pytest.raises(MetrolineError) as error:
        release(small_line.recipe(gates=["test.bits_per_byte <= 1.50", "parity.onnx.max_abs <= 1e-3"]), paths)
    text = str(error.value)
    assert "1 of 3 gates failed, nothing is released" in text
    assert "FAILED  test.bits_per_byte" in text
    assert "passed  parity.onnx.max_abs" in text
    assert not (store_home / "models").exists()
    assert not paths.release.exists()


def test_a_model_that_beats_neither_baseline_fails_without_any_gate_in_the_recipe(bundle: Bundle) -> None:
    with pytest.raises(MetrolineError, match=r"FAILED  test\.bits_per_byte"):
        release(small_line.recipe(gates=[]), bundle(bits=2.0))
    release(small_line.recipe(gates=[]), bundle(bits=1.99))


def test_an_unknown_metric_in_a_gate(bundle: Bundle) -> None:
    with pytest.raises(MetrolineError, match=r"did you mean test\.loss\?"):
        release(small_line.recipe(gates=["tst.loss <= 4"]), bundle())
    assert pointers() == Pointers()


def test_a_flipped_byte_in_the_bundle_is_refused(bundle: Bundle) -> None:
    paths = bundle()
    (paths.bundle / "model.onnx").write_text("onf")
    with pytest.raises(MetrolineError, match=r"model\.onnx is not the file that was exported"):
        release(small_line.recipe(), paths)
    assert pointers() == Pointers()


def test_no_bundle(tmp_path: Path, store_home: Path) -> None:
    with pytest.raises(MetrolineError, match=r"no bundle at .*export it: metroline run"):
        release(small_line.recipe(), Paths("mini", tmp_path))


def test_a_bundle_of_another_recipe(bundle: Bundle) -> None:
    with pytest.raises(MetrolineError, match="is a bundle of other, not of mini"):
        release(small_line.recipe(), bundle(name="other"))


def test_rollback_of_nothing(store_home: Path) -> None:
    with pytest.raises(MetrolineError, match=r"nothing of mini is released \(metroline run mini\)"):
        rollback("mini")


def test_rollback_without_a_previous_release(bundle: Bundle) -> None:
    release(small_line.recipe(), bundle())
    with pytest.raises(MetrolineError, match="mini has no previous release to go back to"):
        rollback("mini")


def test_rollback_to_a_damaged_release_is_refused(bundle: Bundle, store_home: Path) -> None:
    release(small_line.recipe(), bundle("one"))
    old = pointers().live
    release(small_line.recipe(), bundle("two"))
    assert old is not None
    file = Store(store_home).folder(old) / "model.onnx"
    file.chmod(0o644)
    file.write_text("broken")
    before = pointers()
    with pytest.raises(MetrolineError, match=r"model\.onnx is not the file"):
        rollback("mini")
    assert pointers() == before


def test_a_damaged_copy_in_the_store_is_replaced(bundle: Bundle, store_home: Path) -> None:
    paths = bundle()
    release(small_line.recipe(), paths)
    (Store(store_home).folder(tag(paths)) / "model.onnx").write_text("broken")
    release(small_line.recipe(), paths)
    assert (Store(store_home).folder(tag(paths)) / "model.onnx").read_text() == "one"


def test_a_store_that_cannot_be_written(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "file" / "store"))
    with pytest.raises(MetrolineError, match=r"the model store .*file/store cannot be written"):
        release(small_line.recipe(), bundle())


def test_a_pointer_file_that_cannot_be_read(bundle: Bundle, store_home: Path) -> None:
    (store_home / "metroline").mkdir(parents=True)
    (store_home / "metroline/mini.json").write_text("{")
    with pytest.raises(MetrolineError, match=r"mini\.json: cannot be read"):
        release(small_line.recipe(), bundle())


def test_old_releases_are_removed_but_never_live_or_previous(bundle: Bundle, store_home: Path) -> None:
    recipe = small_line.recipe(release={"keep": 3})
    tags = []
    for text in ("one", "two", "three"):
        release(recipe, bundle(text))
        tags.append(tag(bundle(text)))
    rollback("mini")  # live: two, previous: three
    release(recipe, bundle("one"))  # live: one, previous: two
    release(recipe, bundle("four"))  # live: four, previous: one; kept besides: the newest other
    kept = Store(store_home).releases("mini")
    assert len(kept) == 3
    assert {tags[0], tag(bundle("four"))} <= set(kept)
    assert pointers() == Pointers(live=tag(bundle("four")), previous=tags[0])
    for each in kept:
        Store(store_home).check(each)


def test_what_a_killed_release_left_is_removed(bundle: Bundle, store_home: Path) -> None:
    left = store_home / "metroline/.incoming.dead"
    left.mkdir(parents=True)
    half = Store(store_home).folder(tag(bundle()))
    half.mkdir(parents=True)  # as if a copy had been cut off
    (half / "model.onnx").write_text("o")
    release(small_line.recipe(), bundle())
    assert not left.exists()
    Store(store_home).check(tag(bundle()))


def test_killed_while_copying_leaves_the_old_release(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    release(small_line.recipe(), bundle("one"))
    before = pointers()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    paths = bundle("two")
    with monkeypatch.context() as patch:
        patch.setattr(store.shutil, "copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            release(small_line.recipe(), paths)
    assert pointers() == before
    assert not Store.of(paths.root).folder(tag(paths)).exists()
    release(small_line.recipe(), paths)
    assert pointers().live == tag(paths)


def test_two_releases_at_once_wait_for_each_other(bundle: Bundle, store_home: Path) -> None:
    paths = bundle()
    write_json(store_home / "metroline/mini.json", {"live": None, "previous": None})
    code = (
        "import sys; from pathlib import Path; from pipelines.paths import Paths; "
        "from pipelines.recipe.schema import Recipe; "
        "from pipelines.release.stage import release; "
        "release(Recipe.model_validate_json(sys.argv[2]), Paths('mini', Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(paths.root), small_line.recipe().model_dump_json()]
    both = [subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.wait(timeout=60) == 0, process.stderr.read() if process.stderr else ""
    assert pointers() == Pointers(live=tag(paths), previous=None)
    Store(store_home).check(tag(paths))


def test_the_default_store_lies_in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    assert Store.of(Path("/project")).home == Path("/project/.metroline/bentoml")


def test_a_really_exported_bundle_is_released(exported: Paths, tmp_path: Path, store_home: Path) -> None:
    paths = small_line.copy(exported, tmp_path / "line")
    release(small_line.recipe(gates=["test.bits_per_byte <= 1.5", "parity.pt2.max_abs <= 1e-3"]), paths)
    live = pointers().live
    assert live is not None
    assert Store(store_home).check(live)["name"] == "mini"


def test_a_candidate_stands_beside_what_is_live(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    first, recipe = tag(bundle("one")), small_line.recipe(release={"deploy": "canary", "requests": 7, "sticky": "key"})
    release(recipe, bundle("one"))
    assert pointers() == Pointers(live=first)  # there was nothing to try it beside
    release(recipe, bundle("two"))
    second, found = tag(bundle("two")), pointers()
    assert (found.live, found.previous, found.candidate) == (first, None, second)
    plan = Plan.of(found.plan or {})
    assert (plan.mode, plan.share, plan.requests, plan.sticky) == ("canary", 0.1, 7, "key")
    release(recipe, bundle("two"))
    assert pointers() == found  # it goes on being tried
    monkeypatch.setenv("METROLINE_DEPLOY", "shadow")
    release(recipe, bundle("two"))
    again = Plan.of(pointers().plan or {})
    assert (again.mode, again.share) == ("shadow", 0.2)
    assert again.id != plan.id
    assert live.drop("mini") == second
    assert pointers() == Pointers(live=first)
    with pytest.raises(MetrolineError, match="mini has no candidate"):
        live.promote("mini")
    release(recipe, bundle("three"))
    third = tag(bundle("three"))
    with pytest.raises(MetrolineError, match="mini has no candidate"):  # of this plan
        live.promote("mini", plan="other")
    assert live.promote("mini") == third
    assert pointers() == Pointers(live=third, previous=first)
    monkeypatch.setenv("METROLINE_DEPLOY", "direct")
    release(recipe, bundle("four"))
    assert pointers() == Pointers(live=tag(bundle("four")), previous=third)


def test_a_way_to_deploy_that_is_none(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    release(small_line.recipe(), bundle("one"))
    monkeypatch.setenv("METROLINE_DEPLOY", "blue-green")
    with pytest.raises(MetrolineError, match="METROLINE_DEPLOY='blue-green' is no way to deploy"):
        release(small_line.recipe(), bundle("two"))


@pytest.mark.parametrize(
    "values",
    [
        {"deploy": "blue"},
        {"share": 0},
        {"share": 1.5},
        {"requests": 0},
        {"minutes": 0},
        {"differ": -0.1},
        {"slower": 1},
    ],
)
def test_bad_numbers_of_a_delivery(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=f"release.{next(iter(values))}"):
        small_line.recipe(release=values)


def test_a_release_that_was_being_removed_is_none_and_goes_with_the_next(bundle: Bundle, store_home: Path) -> None:
    paths = bundle()
    release(small_line.recipe(), paths)
    left = Store(store_home).folder(tag(paths)).with_name(".0123456789ab.removed")
    left.mkdir()
    (left / "model.yaml").touch()
    assert Store(store_home).releases("mini") == [tag(paths)]
    release(small_line.recipe(), bundle("two"))
    assert not left.exists()


def test_large_files_that_releases_share_are_stored_once(bundle: Bundle, store_home: Path) -> None:
    text = "weights" * (store.LARGE // 7 + 1)
    release(small_line.recipe(), bundle(text))
    (first,) = Store(store_home).releases("mini")
    paths = bundle(text)
    (paths.bundle / "serving.json").write_text('{"max_tokens": 2}')
    manifest.write(paths.bundle, {key: value for key, value in read_json(paths.bundle / "manifest.json").items()
                                  if key not in ("files", "version", "format")})  # fmt: skip
    release(small_line.recipe(), paths)
    graphs = [Store(store_home).folder(each) / "model.onnx" for each in (first, tag(paths))]
    assert first != tag(paths)
    assert graphs[0].samefile(graphs[1])
    graphs[0].write_text("damaged")  # whoever writes into a release spoils both, and each says so
    for each in (first, tag(paths)):
        with pytest.raises(MetrolineError, match=r"model\.onnx is not the file that was exported"):
            Store(store_home).check(each)


def test_where_files_cannot_be_linked_they_are_copied(
    bundle: Bundle, store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as FAT does, and some network file systems

    monkeypatch.setattr(os, "link", refuse)
    text = "weights" * (store.LARGE // 7 + 1)
    release(small_line.recipe(), bundle(text))
    paths = bundle(text)
    (paths.bundle / "serving.json").write_text('{"max_tokens": 2}')
    manifest.write(paths.bundle, {key: value for key, value in read_json(paths.bundle / "manifest.json").items()
                                  if key not in ("files", "version", "format")})  # fmt: skip
    release(small_line.recipe(), paths)
    assert not (Store(store_home).folder(tag(paths)) / "model.onnx.link").exists()
    Store(store_home).check(tag(paths))
