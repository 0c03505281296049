"""A text classifier that begins with the weights of a BERT, from fetched files to a bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from base.errors import BadItem, MetrolineError
from base.files import read_json
from data import golden
from data.codecs import decode
from data.records import Records
from data.signature import Signature
from data.text.tokenizer import Tokenizer
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.schema import Recipe
from pipelines.tasks.supervised.examples import Examples
from pipelines.tasks.supervised.learner import Loss, Supervised
from pipelines.tasks.supervised.network import Answers
from pipelines.tasks.supervised.predict import predict
from pipelines.training.stage import train
from serving.engines.forward.graph import ForwardGraph
from serving.engines.forward.preparation import Preparation
from serving.runtime.bundles import load
from tests.pipelines.tasks.supervised import small_texts

Line = tuple[Recipe, Paths]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Trained, evaluated, exported."""
    recipe = small_texts.recipe()
    paths = small_texts.prepared(tmp_path_factory.mktemp("moods"), recipe)
    train(recipe, paths)
    evaluate(recipe, paths)
    export(recipe, paths)
    return recipe, paths


def test_tokens_are_the_pretrained_ones_whole_and_too_long_texts_are_counted(line: Line) -> None:
    prepared = line[1].prepared
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    assert tokenizer.encode("A good day was GOOD [MASK]")[:5] == [15, 5, 14, 17, 5]
    assert tokenizer.encode("good [PAD] day").count(0) == 0
    assert len(tokenizer.encode("good " * 9)) == 9  # the file says that it cuts after 4
    assert read_json(prepared / "index.json")["fitted"] == {"vocabulary": 21, "frame": [[2], [3]]}
    dropped = [Records(prepared, split).index["splits"][split]["dropped"] for split in ("train", "valid", "test")]
    assert sum(each.get("empty or longer than data.length", 0) for each in dropped) == 1
    assert max((Examples(prepared, split).inputs != 0).sum(1).max() for split in ("train", "test")) <= 16


def test_it_learns_and_says_how_sure_it_is_that_it_is_better(line: Line) -> None:
    metrics = read_json(line[1].metrics)
    test, baselines = metrics["test"], metrics["baselines"]
    assert test["accuracy"] > 0.9 > baselines["floor_accuracy"]
    assert test["gain"] == pytest.approx(test["accuracy"] - baselines["tfidf_linear_accuracy"])
    assert test["gain_low"] <= test["gain"] <= test["gain_high"]
    card = (line[1].bundle / "README.md").read_text(encoding="utf-8")
    assert "It began with the weights of `small-bert` and a new head; both were trained further." in card
    assert "than that of tfidf linear by" in card


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_bundle_answers_a_text_alike_alone_and_in_a_batch(line: Line, precision: str) -> None:
    bundle = load(line[1].bundle)
    path = bundle.path / ("model.onnx" if precision == "fp32" else "model.int8.onnx")
    graph, prepare = ForwardGraph(path, bundle.typed, 1), Preparation(bundle)
    raws = [item.inputs for item in golden.load(bundle.path, bundle.typed)]
    items = [prepare(raw) for raw in (*raws, (b"good",), (b"the day was cold and bad",))]
    graph.settle(items[: len(raws)])
    assert graph.largest > 1
    alone = [graph.run([item])[0][0].tobytes() for item in items]
    together = graph.run(items)
    assert [row[0].tobytes() for row in together] == alone
    assert np.argmax(together[-1][0]) != np.argmax(together[-2][0])


def test_padded_rows_are_among_what_is_compared(line: Line) -> None:
    cases = read_json(line[1].bundle / "parity.json")["onnx"]["cases"]
    assert [case["batch"] for case in cases if case.get("ragged")] == [5]


def test_a_text_that_is_too_long_is_refused_with_its_tokens(line: Line) -> None:
    signature = Signature.load(line[1].bundle / "signature.json")
    tokenizer = Tokenizer.load(line[1].bundle / "tokenizer.json")
    with pytest.raises(BadItem, match="17 tokens, more than 16"):
        decode(signature.inputs[0], "good " * 17, tokenizer)


def test_a_tokenizer_whose_token_0_is_a_word_is_refused(tmp_path: Path) -> None:
    recipe, paths = small_texts.recipe(), Paths("moods", tmp_path)
    small_texts.write_raw(paths.raw)
    words = dict(zip(("film", *(word for word in small_texts.VOCABULARY if word != "film")), range(21), strict=True))
    small_texts.write_weights(paths.pretrained / "files", small_texts.tokenizer(words))
    with pytest.raises(MetrolineError, match=r"its token 0 \('film'\) is a part of texts"):
        kinds.task("classification")(recipe).prepare(paths.raw, paths.prepared, paths.pretrained / "files")


def test_without_fetched_weights(tmp_path: Path) -> None:
    recipe, paths = small_texts.recipe(), Paths("moods", tmp_path)
    small_texts.write_raw(paths.raw)
    with pytest.raises(MetrolineError, match="no pretrained weights, whose tokenizer is needed"):
        kinds.task("classification")(recipe).prepare(paths.raw, paths.prepared, paths.pretrained / "files")


def test_a_frozen_text_network_gives_its_features_once(tmp_path: Path) -> None:
    """The head learns on them what it would learn behind the whole network, which keeps every weight."""
    values = small_texts.recipe().model_dump(exclude_unset=True, mode="json")
    recipe = small_texts.recipe(pretrained={**values["pretrained"], "freeze": True})
    paths = small_texts.prepared(tmp_path, recipe)
    learner = Supervised(recipe, paths.prepared, paths.pretrained / "files")
    network = learner.network(torch.Generator())
    torch.nn.init.normal_(network.body.get_submodule("head").weight, generator=torch.Generator().manual_seed(0))
    objective = learner.objective(network).eval()
    numbers = np.array([5, 0, 7])
    batch = learner.batch(np.zeros(3, np.int64), numbers, 0, torch.device("cpu"))
    assert batch.inputs["inputs"].shape == (3, 32)
    tokens, targets = torch.from_numpy(learner.train.inputs[numbers]), batch.inputs["targets"]
    whole = Loss(network, 0.0).eval()(tokens, targets)
    torch.testing.assert_close(objective(**batch.inputs), whole, atol=1e-5, rtol=1e-5)
    direct = learner._judge(predict(Answers(network, labels=True).eval(), learner.valid.inputs))
    with torch.no_grad():
        assert learner.value(network, torch.device("cpu")) == pytest.approx(direct)
    train(recipe, paths)
    trained = load_file(paths.checkpoint / "model.safetensors")
    for name, weight in network.state_dict().items():
        changes = name.startswith("body.head.") or name == "spread"  # the temperature is chosen on valid
        assert torch.equal(trained[name], weight) != changes, name
