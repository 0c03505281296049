"""A recipe whose weights others have trained, from the fetched file to the bundle."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer as Tokenizers
from tokenizers import normalizers, processors

from base.errors import MetrolineError
from base.files import read_json
from data.fetch.own_files import WEIGHTS
from data.fetch.sources import pin
from data.text.templates import ChatTemplate
from data.text.tokenizer import Tokenizer
from models.decoder.config import DecoderConfig
from models.decoder.gguf import load as load_pretrained
from models.decoder.huggingface import load, save_pretrained
from models.decoder.model import Decoder
from pipelines.line import stages
from pipelines.paths import Paths
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.schema import Recipe
from tests.gguf_files import vocabulary, write_llama

TEXT = Path(__file__).resolve().parents[3] / "data/examples/speeches/1862-Lincoln.txt"
torch.set_num_threads(1)


def decoder(tokens: int) -> Decoder:
    config = DecoderConfig(vocab_size=tokens, context=64, layers=2, heads=4, kv_heads=2, width=64, hidden=96)
    return Decoder(config, torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.gguf"
    return write_llama(path, decoder(len(vocabulary()[0])))


def project(root: Path, weights: Path, **sections: Any) -> tuple[Recipe, Paths]:
    """A project folder with the recipe `imported`, and nothing run yet."""
    values = {
        "description": "weights of others",
        "licence": "theirs",
        "source": pin(TEXT).model_dump(),
        "pretrained": {"source": pin(weights, suffixes=WEIGHTS).model_dump()},
        "split": {"valid": 0.1, "test": 0.1},
        "data": {"documents": {"separator": "\n\n"}, "tokenizer": {"kind": "pretrained"}},
        "evaluate": {"sample_tokens": 8, "samples": 1, "reference_tokens": 16, "reference_windows": 8},
        "export": {"torchscript": False, "pt2": False, "lengths": [1, 7], "int8_tokens": 512},
        **sections,
    }
    (root / "pipelines/recipes").mkdir(parents=True)
    (root / "pipelines/recipes/imported.yaml").write_text(yaml.safe_dump(values))
    return load_recipe("imported", root), Paths("imported", root)


def run(names: str, recipe: Recipe, paths: Paths) -> None:
    for name in names.split():
        stages.STAGES[name].function(recipe, paths)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> tuple[Recipe, Paths]:
    recipe, paths = project(tmp_path_factory.mktemp("project"), weights)
    run("fetch prepare train", recipe, paths)
    return recipe, paths


def test_the_checkpoint_is_the_file(imported: tuple[Recipe, Paths], weights: Path) -> None:
    _, paths = imported
    ids = torch.arange(40).reshape(2, 20)
    assert torch.equal(load(paths.checkpoint)(ids), load_pretrained(weights)(ids))
    record = read_json(paths.checkpoint / "training.json")
    assert list(record["imported"]) == ["small.gguf"]
    assert record["data_hash"] == read_json(paths.prepared / "index.json")["data_hash"]
    config = read_json(paths.checkpoint / "config.json")
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, [2, 0], 2)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        assert (paths.checkpoint / name).read_bytes() == (paths.prepared / name).read_bytes()
    # Curves there are none; DVC still finds its plots.
    assert (paths.plots / "loss.csv").read_text() == "step,loss\n"


def test_the_text_is_coded_with_the_tokenizer_of_the_weights(imported: tuple[Recipe, Paths]) -> None:
    from data.text.shards import Shards

    _, paths = imported
    tokenizer, test = Tokenizer.load(paths.prepared / "tokenizer.json"), Shards(paths.prepared, "test")
    assert test.vocab_size == len(vocabulary()[0])
    document = test.document(0)
    assert document[-1] == 0
    assert tokenizer.decode(document[:-1].tolist()) in TEXT.read_text().replace("\r\n", "\n")
    assert read_json(paths.prepared / "stats.json")["tokenizer"]["kind"] == "pretrained"


def test_the_same_again_gives_equal_bytes(imported: tuple[Recipe, Paths], tmp_path: Path) -> None:
    recipe, paths = imported
    root = tmp_path / "again"
    shutil.copytree(paths.root, root)
    again = Paths("imported", root)
    run("prepare train", recipe, again)
    for file in sorted(path for folder in (paths.prepared, paths.checkpoint) for path in folder.iterdir()):
        if file.suffix != ".png":
            assert (root / file.relative_to(paths.root)).read_bytes() == file.read_bytes(), file


def test_evaluate_and_export_take_it_like_any_checkpoint(imported: tuple[Recipe, Paths]) -> None:
    recipe, paths = imported
    run("evaluate export", recipe, paths)
    assert read_json(paths.metrics)["test"]["loss"] > 0
    bundle = paths.bundle
    assert read_json(bundle / "serving.json")["eos"] == [2, 0]
    template = ChatTemplate.load(bundle)
    assert template is not None
    assert template.render([{"role": "user", "content": "Hi"}]) == "Hi<|im_end|>"
    listed = read_json(bundle / "manifest.json")["files"]
    assert "chat_template.jinja" in listed
    card = (bundle / "README.md").read_text()
    assert "imported from `small.gguf`" in card
    assert "which came with the weights" in card
    assert "optimizer steps" not in card


def hub(root: Path, weights: Path, change: Callable[[Tokenizers], None]) -> Path:
    """The same as a Hugging Face folder, whose tokenizer is changed."""
    from data.text.weights import read

    save_pretrained(decoder(len(vocabulary()[0])), root)
    found = read(weights)
    change(found.inner)
    found.save(root)
    return root


def begin(inner: Tokenizers) -> None:
    inner.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])


def lower(inner: Tokenizers) -> None:
    inner.normalizer = normalizers.Lowercase()


def test_documents_begin_as_the_tokenizer_says(imported: tuple[Recipe, Paths], weights: Path, tmp_path: Path) -> None:
    from data.text.shards import Shards

    recipe, paths = project(tmp_path / "project", hub(tmp_path / "hub", weights, begin))
    run("fetch prepare train evaluate", recipe, paths)
    plain, made = Shards(imported[1].prepared, "test"), Shards(paths.prepared, "test")
    assert (plain.first, made.first) == ((), (1,))
    for number in range(len(plain)):
        assert made.document(number).tolist() == [1, *plain.document(number).tolist()]
    found = read_json(paths.metrics)["test"]
    assert (found["tokens"], found["bytes"]) == (plain.total_tokens + len(plain), plain.bytes)
    assert found["bits_per_byte"] == pytest.approx(found["loss"] * plain.total_tokens / math.log(2) / plain.bytes)


def test_a_tokenizer_that_changes_text_is_refused(weights: Path, tmp_path: Path) -> None:
    recipe, paths = project(tmp_path / "project", hub(tmp_path / "hub", weights, lower))
    with pytest.raises(
        MetrolineError, match=r"the pretrained tokenizer loses [\d,]+ of the [\d,]+ characters of"
    ) as caught:
        run("fetch prepare", recipe, paths)
    assert "\n" not in str(caught.value)
    assert not paths.prepared.exists()


def test_a_tokenizer_that_was_saved_while_it_cut_and_filled_up_gives_equal_bytes(
    imported: tuple[Recipe, Paths], weights: Path, tmp_path: Path
) -> None:
    source = hub(tmp_path / "hub", weights, lambda inner: None)
    inner = Tokenizers.from_file(str(source / "tokenizer.json"))
    inner.enable_truncation(max_length=16)
    inner.enable_padding(length=64, pad_id=2, pad_token="<|im_end|>")
    inner.save(str(source / "tokenizer.json"))
    recipe, paths = project(tmp_path / "project", source)
    run("fetch prepare", recipe, paths)
    for path in (imported[1].prepared / "index.json", imported[1].prepared / "tokenizer.json"):
        assert (paths.prepared / path.name).read_bytes() == path.read_bytes()


def test_a_hugging_face_folder(weights: Path, tmp_path: Path) -> None:
    from data.text.weights import read

    hub = tmp_path / "hub"
    model = decoder(len(vocabulary()[0]) + 8)  # embeddings are often padded
    save_pretrained(model, hub)
    read(weights).save(hub)
    recipe, paths = project(tmp_path / "project", hub)
    run("fetch prepare train evaluate", recipe, paths)
    ids = torch.arange(40).reshape(2, 20)
    assert torch.equal(load(paths.checkpoint)(ids), model(ids))
    assert list(read_json(paths.checkpoint / "training.json")["imported"]) == ["model.safetensors"]
    assert (paths.checkpoint / "chat_template.jinja").is_file()


def test_a_tokenizer_with_more_tokens_than_embeddings(tmp_path: Path) -> None:
    file = write_llama(tmp_path / "few.gguf", decoder(300))
    recipe, paths = project(tmp_path / "project", file)
    run("fetch prepare", recipe, paths)
    with pytest.raises(MetrolineError, match="has embeddings for 300 tokens, its tokenizer has"):
        run("train", recipe, paths)
    assert not paths.checkpoint.exists()


def test_damaged_and_missing_files_stop_their_stage(weights: Path, tmp_path: Path) -> None:
    recipe, paths = project(tmp_path / "project", weights)
    with pytest.raises(MetrolineError, match="is missing"):
        run("train", recipe, paths)
    run("fetch", recipe, paths)
    file = paths.pretrained / "files/small.gguf"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    for stage in ("prepare", "train"):
        if stage == "train":
            file.write_bytes(whole)
            run("prepare", recipe, paths)
            file.write_bytes(whole[:-5])
        with pytest.raises(MetrolineError, match=r"small\.gguf is not a whole GGUF file"):
            run(stage, recipe, paths)
    shutil.rmtree(paths.pretrained)
    with pytest.raises(MetrolineError, match="no pretrained weights"):
        run("prepare", recipe, paths)


def test_other_weights_than_the_pinned_ones_are_refused(weights: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    shutil.copyfile(weights, own)
    recipe, paths = project(tmp_path / "project", own)
    own.write_bytes(own.read_bytes() + b"\0")
    with pytest.raises(MetrolineError, match="is not what the recipe pins"):
        run("fetch", recipe, paths)
    assert not paths.pretrained.exists()


CONTRADICTIONS = {
    "another tokenizer": (
        {"data": {"tokenizer": {"kind": "bpe"}}},
        "tokenizer.kind: with pretrained.source it must be pretrained",
    ),
    "a frozen one": ({"pretrained": {"freeze": True}}, "pretrained.freeze: a language model has no new head"),
    "no weights": ({"pretrained": {}}, "tokenizer.kind: pretrained needs pretrained.source"),
    "a shape": ({"model": {"layers": 3}}, r"model\.layers: has no effect with pretrained\.source, whose files say"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_sections_that_contradict_pretrained_weights(name: str, weights: Path, tmp_path: Path) -> None:
    sections, message = CONTRADICTIONS[name]
    with pytest.raises(MetrolineError, match=message):
        project(tmp_path, weights, **sections)


def test_weights_are_no_text(weights: Path, tmp_path: Path) -> None:
    """Of a source of text the suffixes of weights do not count, nor the other way round."""
    with pytest.raises(MetrolineError, match=r"is none of \.txt"):
        pin(weights)
    with pytest.raises(MetrolineError, match=r"is none of \.gguf"):
        pin(TEXT, suffixes=WEIGHTS)


def test_training_goes_on_from_the_weights(imported: tuple[Recipe, Paths]) -> None:
    """A `train` with keys begins with the imported weights: the first loss is theirs, later ones are lower."""
    _, paths = imported
    train = {"steps": 6, "batch": 4, "sequence": 16, "lr": 1e-3, "warmup": 0, "evaluate_every": 6, "log_every": 1,
             "device": "cpu", "precision": "fp32"}  # fmt: skip
    path = paths.root / "pipelines/recipes/imported.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "train": train}))
    before = load(paths.checkpoint).state_dict()
    recipe = load_recipe("imported", paths.root)
    run("train", recipe, paths)
    after = load(paths.checkpoint).state_dict()
    assert before.keys() == after.keys()
    assert 0 < max(float((before[name] - after[name]).abs().max()) for name in before) < 0.1
    losses = [json.loads(line)["loss"] for line in (paths.checkpoint / "curves.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    config = read_json(paths.checkpoint / "generation_config.json")
    assert config["eos_token_id"] == [2, 0]
