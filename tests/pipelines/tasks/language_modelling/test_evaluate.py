"""Stage evaluate: its numbers against the model's own, its files, and what it refuses."""

import lzma
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from base.errors import MetrolineError
from base.files import read_json, write_json
from data.text.shards import Shards, ShardWriter, write_index
from data.text.tokenizer import Tokenizer, TokenizerConfig, train
from models.decoder.huggingface import load, save_pretrained
from pipelines.evaluation import evaluate
from pipelines.paths import Paths
from pipelines.recipe import gates
from pipelines.tasks.language_modelling import samples, scoring
from pipelines.tasks.language_modelling.config import EvaluateConfig
from pipelines.tasks.language_modelling.evaluate import check_text
from pipelines.tasks.language_modelling.reference import stretches
from tests.pipelines import small_line

torch.set_num_threads(1)


def files(paths: Paths) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (paths.metrics, *sorted(paths.evaluation.iterdir()))}


def test_metrics_agree_with_each_other_and_with_the_model(evaluated: Paths) -> None:
    metrics, test = read_json(evaluated.metrics), Shards(evaluated.prepared, "test")
    found = metrics["test"]
    assert (found["tokens"], found["bytes"]) == (test.total_tokens, test.bytes)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["bits_per_byte"] == pytest.approx(found["loss"] * test.total_tokens / math.log(2) / test.bytes)

    model = load(evaluated.checkpoint)
    windows = scoring.split_windows(test, model.config.context, EvaluateConfig().stride)
    assert found["loss"] == pytest.approx(scoring.score(model, test, windows, 100).mean(dtype=float), rel=1e-5)
    assert found["context"] == small_line.CONTEXT


def test_a_trained_model_beats_the_baselines_and_a_random_one_fails_the_gate(evaluated: Paths, tmp_path: Path) -> None:
    floor, values = gates.floor(read_json(evaluated.metrics)), gates.flatten(read_json(evaluated.metrics))
    assert floor == "test.bits_per_byte < baselines.weakest_bits_per_byte"
    assert gates.require([floor], values)[0].passed
    random = small_line.copy(evaluated, tmp_path / "line")
    small_line.checkpoint(random, steps=0)
    evaluate(small_line.recipe(), random)
    with pytest.raises(MetrolineError, match=r"FAILED  test\.bits_per_byte"):
        gates.require([floor], gates.flatten(read_json(random.metrics)))


def test_baselines_are_those_of_the_test_text(evaluated: Paths) -> None:
    found, test = read_json(evaluated.metrics)["baselines"], Shards(evaluated.prepared, "test")
    tokenizer = Tokenizer.load(evaluated.prepared / "tokenizer.json")
    text = b"".join(tokenizer.decode(test.document(n).tolist()).encode() + b"\0" for n in range(len(test)))
    assert len(text) == test.bytes + len(test)
    assert found["xz_bits_per_byte"] == 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / test.bytes
    assert 0 < found["bigram_bits_per_byte"] < found["xz_bits_per_byte"] == found["weakest_bits_per_byte"]


def test_groups_add_up_to_the_whole(evaluated: Paths) -> None:
    rows, metrics = read_json(evaluated.evaluation / "groups.json"), read_json(evaluated.metrics)
    assert [row["group"] for row in rows] == ["1900", "1910", "1920"] == sorted(metrics["groups"])
    assert sum(row["documents"] for row in rows) == 20
    assert sum(row["bytes"] for row in rows) == metrics["test"]["bytes"]
    mean = sum(row["loss"] * row["tokens"] for row in rows) / sum(row["tokens"] for row in rows)
    assert mean == pytest.approx(metrics["test"]["loss"])
    assert (evaluated.evaluation / "groups.png").read_bytes().startswith(b"\x89PNG")


def test_equal_bytes_when_run_again(evaluated: Paths, trained: Paths, tmp_path: Path) -> None:
    again = small_line.copy(trained, tmp_path / "line")
    evaluate(small_line.recipe(), again)
    assert files(again) == files(evaluated)


def test_first_tokens_of_documents_are_no_targets(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    small_line.change(paths.prepared / "index.json", first=[7])
    evaluate(small_line.recipe(), paths)
    metrics, test = read_json(paths.metrics), Shards(paths.prepared, "test")
    model = load(paths.checkpoint)
    windows = scoring.split_windows(test, model.config.context, EvaluateConfig().stride)
    nats = scoring.score(model, test, windows, 100).astype(float)
    assert np.isnan(nats).sum() == len(test) == 20
    assert metrics["test"]["loss"] == pytest.approx(np.nanmean(nats), rel=1e-5)
    assert metrics["test"]["bits_per_byte"] == pytest.approx(np.nansum(nats) / math.log(2) / test.bytes, rel=1e-5)
    rows = read_json(paths.evaluation / "groups.json")
    assert sum(row["tokens"] for row in rows) == test.total_tokens - 20
    assert sum(row["loss"] * row["tokens"] for row in rows) == pytest.approx(np.nansum(nats), rel=1e-5)
    reference, losses = read_json(paths.evaluation / "reference.json"), []
    for _, start, length in stretches(test, 15, 512):  # with the first token they are 16
        tokens = torch.from_numpy(np.array([7, *test.tokens_at(start, length)]))
        with torch.no_grad():
            losses.append(float(F.cross_entropy(model(tokens[None, :-1])[0], tokens[1:])))
    assert reference["loss_mean"] == pytest.approx(np.mean(losses), rel=1e-4)


def rewrite(paths: Paths, change: Callable[[list[int]], list[int]]) -> None:
    """Give the test split's documents other tokens, and count their bytes as before."""
    old = Shards(paths.prepared, "test")
    rows = [(row, old.document(n).tolist()[:-1]) for n, row in enumerate(old.documents())]
    with ShardWriter(paths.prepared, "test", vocab_size=old.vocab_size, eos=old.eos) as writer:
        for row, tokens in rows:
            writer.add(row["id"], np.array(change(tokens), np.uint16), bytes_=row["bytes"], meta=row["meta"])
    index = read_json(paths.prepared / "index.json")
    index["splits"]["test"] = writer.entry
    write_json(paths.prepared / "index.json", index)


@pytest.mark.parametrize("change", [lambda tokens: tokens[:16], lambda tokens: tokens[::2], lambda tokens: tokens[:1]])
def test_tokens_that_do_not_stand_for_the_bytes_that_are_counted(
    change: Callable[[list[int]], list[int]], trained: Paths, tmp_path: Path
) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    rewrite(paths, change)
    with pytest.raises(MetrolineError, match=r"the tokens of test give back only [\d,]+ of its [\d,]+ bytes") as caught:
        evaluate(small_line.recipe(), paths)
    assert "\n" not in str(caught.value)
    assert not paths.metrics.exists()


def test_a_character_that_was_never_seen_is_no_lost_text(tmp_path: Path) -> None:
    tokenizer = train(["abc"], TokenizerConfig(kind="char"))
    text = "ab😀" * 9
    with ShardWriter(tmp_path, "test", vocab_size=tokenizer.vocab_size, eos=0) as writer:
        writer.add("one", np.array(tokenizer.encode(text)), bytes_=len(text.encode()), meta={})
    write_index(tmp_path, {"test": writer.entry}, vocab_size=tokenizer.vocab_size, eos=0)
    check_text(Shards(tmp_path, "test"), tokenizer, exact=False)
    with pytest.raises(MetrolineError, match="give back only 18 of its 54 bytes"):  # of a tokenizer of others
        check_text(Shards(tmp_path, "test"), tokenizer, exact=True)


def test_reference_is_the_loss_of_prompts_alone(evaluated: Paths) -> None:
    reference, test = read_json(evaluated.evaluation / "reference.json"), Shards(evaluated.prepared, "test")
    model, losses = load(evaluated.checkpoint), []
    for _, start, length in stretches(test, 16, 512):
        tokens = torch.from_numpy(test.tokens_at(start, length))
        with torch.no_grad():
            losses.append(float(F.cross_entropy(model(tokens[None, :-1])[0], tokens[1:])))
    assert reference["prompts"] == len(losses) > 20
    assert reference["loss_mean"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert reference["loss_std"] == pytest.approx(np.std(losses), rel=1e-4)
    assert sorted(reference["groups"]) == ["1900", "1910", "1920"]


def test_stretches_stay_inside_documents_and_below_the_limit(evaluated: Paths) -> None:
    test = Shards(evaluated.prepared, "test")
    for document, start, length in stretches(test, 16, 10**6):
        assert test.offsets[document] <= start
        assert start + length <= test.offsets[document + 1] - 1
        assert 2 <= length <= 16
        assert test.eos not in test.tokens_at(start, length)
    few = stretches(test, 16, 7)
    assert len(few) == 7
    assert few[-1][0] > len(test) / 2


def test_greedy_samples_with_the_cache_are_those_without(evaluated: Paths) -> None:
    model = load(evaluated.checkpoint)
    tokenizer = Tokenizer.load(evaluated.prepared / "tokenizer.json")
    drawn = samples.continue_text(model, tokenizer, "the president", tokens=10, temperature=0, seed=0, eos=0)
    ids = tokenizer.encode("the president")
    begin = len(ids)
    with torch.no_grad():
        while len(ids) < begin + 10:
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert drawn == tokenizer.decode(ids[begin:])


def test_samples_depend_on_the_seed_alone(evaluated: Paths) -> None:
    model = load(evaluated.checkpoint)
    tokenizer = Tokenizer.load(evaluated.prepared / "tokenizer.json")

    def draw(seed: int) -> str:
        torch.manual_seed(seed * 7 + 1)  # the global generator plays no part
        return samples.continue_text(model, tokenizer, "", tokens=12, temperature=1.0, seed=seed, eos=0)

    assert draw(1) == draw(1) != draw(2)


def test_a_sample_ends_at_end_of_text_and_within_the_context(evaluated: Paths) -> None:
    model = load(evaluated.checkpoint)
    tokenizer = Tokenizer.load(evaluated.prepared / "tokenizer.json")
    long = samples.continue_text(model, tokenizer, "gold " * 90, tokens=500, temperature=1.0, seed=0, eos=0)
    assert len(tokenizer.encode(long)) <= model.config.context
    with torch.no_grad():
        model.lm_head.weight[:] = 0.0  # tied: every logit is 0, the likeliest token is 0, end of text
    assert samples.continue_text(model, tokenizer, "gold", tokens=5, temperature=0, seed=0, eos=0) == ""


def test_prompts_of_the_recipe_are_used(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    evaluate(small_line.recipe(evaluate={"prompts": ["our navy\r\n", ""], "sample_tokens": 5}), paths)
    assert [sample["prompt"] for sample in read_json(paths.evaluation / "samples.json")] == ["our navy\n", ""]
    assert not (paths.evaluation / "groups.png").exists()
    assert read_json(paths.metrics)["groups"] == {}


def test_no_checkpoint(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    shutil.rmtree(paths.checkpoint)
    with pytest.raises(MetrolineError, match=r"checkpoint is missing \(metroline run mini\)"):
        evaluate(small_line.recipe(), paths)
    assert not paths.metrics.exists()


def test_no_prepared_data(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    shutil.rmtree(paths.prepared)
    with pytest.raises(MetrolineError, match=r"index\.json is missing"):
        evaluate(small_line.recipe(), paths)


def test_a_checkpoint_without_its_record(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    (paths.checkpoint / "training.json").unlink()
    with pytest.raises(MetrolineError, match=r"training\.json is missing"):
        evaluate(small_line.recipe(), paths)


def test_a_checkpoint_of_other_data(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    small_line.change(paths.checkpoint / "training.json", data_hash="0" * 64)
    with pytest.raises(MetrolineError, match=r"was trained on other data .*metroline run mini"):
        evaluate(small_line.recipe(), paths)


def test_an_empty_test_split(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    index = read_json(paths.prepared / "index.json")
    for entry in index["splits"]["test"]["shards"]:
        (paths.prepared / entry["file"]).unlink()
    index["splits"]["test"] = {"documents": 0, "tokens": 0, "bytes": 0, "shards": []}
    write_json(paths.prepared / "index.json", index)
    np.save(paths.prepared / "test.offsets.npy", np.zeros(1, dtype=np.int64))
    with pytest.raises(MetrolineError, match="no text in its test split"):
        evaluate(small_line.recipe(), paths)


def test_a_group_that_no_document_names(trained: Paths) -> None:
    with pytest.raises(MetrolineError, match=r"document test-0 has no 'decad' \(did you mean decade\?\)"):
        evaluate(small_line.recipe(evaluate={"group_by": "decad"}), trained)


def test_a_loss_that_is_not_finite(trained: Paths, tmp_path: Path) -> None:
    paths = small_line.copy(trained, tmp_path / "line")
    model = load(paths.checkpoint)
    with torch.no_grad():
        model.norm.weight.fill_(3e38)
    save_pretrained(model, paths.checkpoint, eos=0)
    with pytest.raises(MetrolineError, match="the loss on the test split is not finite"):
        evaluate(small_line.recipe(), paths)
    assert not paths.metrics.exists()
    assert not paths.evaluation.exists()


def test_settings_are_checked() -> None:
    for bad in ({"stride": 0}, {"stride": 1.5}, {"context": 1}, {"temperature": -1}, {"unknown": 1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            EvaluateConfig.model_validate(bad)
