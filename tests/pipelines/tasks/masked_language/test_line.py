"""A small BERT, from speeches to a bundle that fills blanks, to `transformers`, and to recipes that begin with it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.errors import BadItem
from base.files import read_json, sha256
from data import golden
from data.signature import LabelsOutput
from data.text.tokenizer import Tokenizer
from models.encoder import huggingface_masked
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.recipe.schema import Recipe
from pipelines.tasks.embedding.imported import Imported
from pipelines.tasks.masked_language.learner import Learner
from pipelines.training.stage import identify, train
from serving.engines.forward.answers import all_worded
from serving.engines.forward.graph import ForwardGraph
from serving.engines.forward.preparation import Preparation
from serving.runtime.bundles import load
from tests.pipelines.tasks.embedding import test_line as alike
from tests.pipelines.tasks.masked_language import small_bert
from tests.pipelines.tasks.supervised import small_texts
from tests.pipelines.training.stopped import train_with_a_stop

Line = tuple[Recipe, Paths]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Trained, evaluated, exported."""
    made = small_bert.recipe()
    paths = small_bert.prepared(tmp_path_factory.mktemp("bert"), made)
    train(made, paths)
    evaluate(made, paths)
    export(made, paths)
    return made, paths


def test_it_learns_more_than_how_often_tokens_stand(line: Line) -> None:
    metrics = read_json(line[1].metrics)
    test, baselines = metrics["test"], metrics["baselines"]
    assert test["masked_loss"] < baselines["unigram_masked_loss"] - 0.1
    assert test["accuracy"] > baselines["unigram_accuracy"]
    assert metrics["primary"]["floor"] == "baselines.unigram_masked_loss"
    measured = kinds.task("masked-language").measured
    assert set(measured) >= {f"test.{name}" for name in test} | {f"baselines.{name}" for name in baselines}
    card = (line[1].bundle / "README.md").read_text(encoding="utf-8")
    assert f"{test['masked_loss']:.4f}" in card
    assert "the people of the [MASK] states." in card
    assert "{kind: recipe, name: small-bert}" in card


def test_masks_of_training_are_others_in_each_epoch_and_the_same_in_any_batch(line: Line) -> None:
    learner = Learner(line[0], line[1].prepared)

    def batch(epoch: int, *examples: int) -> dict[str, torch.Tensor]:
        made = learner.batch(np.full(len(examples), epoch), np.array(examples), 32, torch.device("cpu"))
        assert made.targets == len(made.inputs["targets"])
        return made.inputs

    one, other = batch(0, 3), batch(1, 3)
    assert one["hidden"].tolist() != other["hidden"].tolist()
    together = batch(0, 5, 3)
    mine = together["hidden"] >= together["tokens"].shape[1]
    assert (together["hidden"][mine] - together["tokens"].shape[1]).tolist() == one["hidden"].tolist()
    assert together["targets"][mine].tolist() == one["targets"].tolist()
    length = one["tokens"].shape[1]
    assert together["tokens"][1, :length].tolist() == one["tokens"][0].tolist()
    assert one["tokens"][0, 0] == 2
    first, again = (list(learner.validation(torch.device("cpu"))) for _ in range(2))
    assert all(torch.equal(a.inputs["tokens"], b.inputs["tokens"]) for a, b in zip(first, again, strict=True))


def test_the_loss_is_that_of_the_logits(line: Line) -> None:
    """Of hidden tokens alone, through the op that holds no logits."""
    learner = Learner(line[0], line[1].prepared)
    network = huggingface_masked.load(line[1].checkpoint)
    objective = learner.objective(network).eval()
    batch = learner.batch(np.zeros(4, np.int64), np.arange(4), 32, torch.device("cpu"))
    with torch.no_grad():
        logits = network.logits(network(batch.inputs["tokens"], batch.inputs["hidden"]))
        wanted = torch.nn.functional.cross_entropy(logits, batch.inputs["targets"], reduction="sum")
        assert float(objective(**batch.inputs)) == pytest.approx(float(wanted), rel=1e-5)


def test_transformers_loads_it_with_equal_logits(line: Line) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(line[1].checkpoint).eval()
    assert type(theirs).__name__ == "BertForMaskedLM"
    tokenizer = transformers.AutoTokenizer.from_pretrained(line[1].checkpoint)
    texts = ["the people of the [MASK] states.", "[MASK] government"]
    rows = tokenizer(texts, padding=True, return_tensors="pt")
    own = Tokenizer.load(line[1].checkpoint / "tokenizer.json")
    assert rows["input_ids"][0, 1:4].tolist() == own.encode("the people of")[:3]
    hidden = (rows["input_ids"] == 4).flatten().nonzero().squeeze(1)
    network = huggingface_masked.load(line[1].checkpoint)
    with torch.no_grad():
        wanted = theirs(**rows).logits.flatten(0, 1)[hidden]
        found = network.logits(network(rows["input_ids"], hidden))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    found_at = read_json(line[1].evaluation / "samples.json")[0]["answers"][0]
    assert found_at[1] == pytest.approx(float(wanted[0].softmax(0).max()), abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_blank_is_filled_alike_alone_and_in_a_batch(line: Line, precision: str) -> None:
    bundle = load(line[1].bundle)
    output = bundle.typed.outputs[0]
    assert isinstance(output, LabelsOutput)
    assert (bundle.typed.task, output.top, output.labels[:5]) == ("fill-mask", 5, small_texts.SPECIAL)
    graph = ForwardGraph(bundle.path / ("model.onnx" if precision == "fp32" else "model.int8.onnx"), bundle.typed, 1)
    prepare, items = Preparation(bundle), golden.load(bundle.path, bundle.typed)
    ready = [prepare(item.inputs) for item in items]
    length = max(each.arrays[0].size for each in ready)  # texts of one length make a batch
    items = [item for item, each in zip(items, ready, strict=True) if each.arrays[0].size == length]
    ready = [each for each in ready if each.arrays[0].size == length]
    assert len(ready) > 1
    graph.settle(ready)
    alone = [graph.run([item])[0][0] for item in ready]
    together = [row[0] for row in graph.run([*ready[1:], ready[0]])]
    assert [each.tobytes() for each in (together[-1], *together[:-1])] == [each.tobytes() for each in alone]
    for item, scores in zip(items, alone, strict=True):
        assert golden.compare(bundle.typed, item, {"token": scores}, precision) is None
        answers = all_worded(bundle.typed, [scores])
        assert [each["score"] for each in answers] == sorted(scores.tolist(), reverse=True)[:5]
        assert len(all_worded(bundle.typed, [scores], 7)) == 7


REFUSED = {
    "no blank": ("the people of the states", r"no \[MASK\] in the text.*write \[MASK\] once"),
    "two": ("the [MASK] of the [MASK] states", r"2 \[MASK\] in the text"),
    "small letters": ("the [mask] of the states", r"no \[MASK\]"),
    "empty": ("", r"no \[MASK\]"),
    "too long": ("[MASK] " + "the " * 30, "31 tokens, more than 30"),
    "no text": (7, "a text is needed"),
    "ids without": ((5, 6), r"no \[MASK\] among the token ids"),
    "ids with two": ((5, 4, 4), r"2 \[MASK\] among the token ids"),
    "ids of others": ((5, 3, 4), r"3 is \[SEP\], which no text has"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_texts_that_are_refused(line: Line, case: str) -> None:
    raw, message = REFUSED[case]
    prepare = Preparation(load(line[1].bundle))
    with pytest.raises(BadItem, match="text: ") as caught:
        prepare((raw,))
    assert re.search(message, f"{caught.value} {caught.value.hint}")
    assert prepare(((5, 4),)).length == 2
    assert prepare((b"[MASK]",)).length == 1


def test_training_twice_and_after_a_stop_gives_equal_bytes(line: Line, tmp_path: Path) -> None:
    made = small_bert.recipe(train=small_bert.TRAIN | {"steps": 6, "save_every": 3})
    whole, parts = (small_bert.prepared(tmp_path / name, made) for name in ("whole", "parts"))
    train(made, whole)
    train_with_a_stop(made, parts)
    for name in ("model.safetensors", "tokenizer.json"):
        assert sha256(whole.checkpoint / name) == sha256(parts.checkpoint / name)


def test_other_masks_of_the_validation_split_are_another_run(line: Line) -> None:
    """The best weights go by it; texts that only the card shows do not matter."""

    def run_of(**evaluate: Any) -> str:
        made = small_bert.recipe(evaluate=evaluate)
        return identify(made, Learner(made, line[1].prepared))

    assert run_of() == run_of(examples=["the [MASK] of it."])
    assert len({run_of(), run_of(seed=1), run_of(rate=0.2)}) == 3


def test_other_recipes_begin_with_it(line: Line, tmp_path: Path) -> None:
    """A classifier trains from its checkpoint, and an embedder has its vectors."""
    made = small_texts.recipe(train={"steps": 2, "batch": 8, "device": "cpu", "precision": "fp32", "compile": "off"})
    paths = Paths("moods", tmp_path / "moods")
    small_texts.write_raw(paths.raw)
    kinds.task("classification")(made).prepare(paths.raw, paths.prepared, line[1].checkpoint)
    learner = kinds.task("classification")(made).learner(paths.prepared, line[1].checkpoint)
    body = learner.network(torch.Generator()).body
    ours = huggingface_masked.load(line[1].checkpoint).body
    for name, weight in ours.layers.state_dict().items():
        assert torch.equal(body.layers.state_dict()[name], weight)
    assert torch.equal(body.embedding.weight, ours.embedding.weight)
    other, paths = alike.recipe(), Paths("alike", tmp_path / "alike")
    alike.write_raw(paths.raw)
    kinds.task("embedding")(other).prepare(paths.raw, paths.prepared, line[1].checkpoint)
    vectors = Imported(other, paths.prepared, line[1].checkpoint).network(torch.Generator())(torch.tensor([[5, 9]]))
    assert vectors.shape == (1, 32)
    assert float(vectors.detach().norm()) == pytest.approx(1, abs=1e-5)


def test_a_modern_encoder_is_pretrained_and_begun_with_too(tmp_path: Path) -> None:
    model = {"places": "rope", "norm": "pre", "activation": "geglu", "hidden": 24}
    made = small_bert.recipe(model=MODEL | model, train=small_bert.TRAIN | {"steps": 2})
    paths = small_bert.prepared(tmp_path, made)
    train(made, paths)
    values = read_json(paths.checkpoint / "config.json")
    assert (values["architectures"], values["model"]["places"]) == (["MetrolineEncoderForMaskedLM"], "rope")
    other, moods = small_texts.recipe(), Paths("moods", tmp_path / "moods")
    small_texts.write_raw(moods.raw)
    kinds.task("classification")(other).prepare(moods.raw, moods.prepared, paths.checkpoint)
    body = kinds.task("classification")(other).learner(moods.prepared, paths.checkpoint).network(torch.Generator()).body
    assert torch.equal(body.embedding.weight, huggingface_masked.load(paths.checkpoint).body.embedding.weight)


MODEL: dict[str, Any] = {"kind": "encoder", "layers": 1, "width": 32, "heads": 2, "context": 32}
WEIGHTS = {"kind": "file", "path": "a", "sha256": "0" * 64}
CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "another network": ({"model": {"kind": "decoder"}}, "by an encoder, not by decoder"),
    "places that nothing reaches": ({"model": MODEL | {"context": 64}}, "train.sequence: 32, and model.context is 64"),
    "other tokens": ({"data": {"tokenizer": {"kind": "bpe"}}}, "must be wordpiece, which has [MASK], not bpe"),
    "first weights": ({"pretrained": {"source": WEIGHTS}}, "pretrained.source: this task makes first weights"),
    "short windows": ({"train": {"sequence": 4}, "model": MODEL | {"context": 4}}, "train.sequence: 4 tokens"),
    "two lengths": ({"train": small_bert.TRAIN | {"phases": [{"steps": 5, "batch": 32, "sequence": 16}]}},
                    "train.phases: windows have one length"),
    "an example without a blank": ({"evaluate": {"examples": ["the people"]}}, "'the people' has not one [MASK]"),
    "an adapter": ({"train": small_bert.TRAIN | {"adapter": {}}}, "train.adapter"),
    "a split by label": ({"split": {"method": "given", "per_class": {"train": 1}}}, "split.method: text is split by"),
    "a language model": ({"task": {"kind": "language-modelling"}, "model": {}, "evaluate": {}, "export": {}},
                         "data.tokenizer.kind: wordpiece"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_recipes_that_contradict_themselves(case: str) -> None:
    changes, message = CONTRADICTIONS[case]
    assert any(message in each for each in problems(small_bert.recipe(**changes)))
    assert not list(problems(small_bert.recipe()))
