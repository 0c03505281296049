"""BERT's folders in and out: the vectors of `transformers`, and one line for what does not fit."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from base.errors import MetrolineError
from data.text import weights as text_side
from data.text.tokenizer import Tokenizer
from models.encoder.huggingface import save_pretrained
from models.encoder.layout import Packed, Rows
from models.encoder.model import Encoder
from models.encoder.network import Config, build, first, shaped
from tests.models.encoder.small_encoders import VOCABULARY, ragged, small

LENGTHS = (1, 3, 7, 12)  # short ones first, as `Packed` has them


def saved(folder: Path, **changes: Any) -> Path:
    """A small BERT of ours as a folder, with other keys in its config.json."""
    save_pretrained(small("bert"), folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def loaded(folder: Path, **keys: Any) -> Encoder:
    network = build(shaped(Config(**keys), folder), (20, VOCABULARY), 3, torch.Generator())
    first(network, folder)
    return network.eval()


def test_a_folder_gives_the_same_body_and_a_new_head(tmp_path: Path) -> None:
    network, again = small("bert"), loaded(saved(tmp_path), pooling="cls")
    assert (again.config.layers, again.config.width, again.config.pooling) == (2, 32, "cls")
    layout = Rows(ragged(*LENGTHS))
    assert torch.equal(network.features(layout), again.features(layout))
    assert not again.head.weight.any()


def test_what_belongs_to_berts_own_heads_is_left_out(tmp_path: Path) -> None:
    tensors = load_file(saved(tmp_path) / "model.safetensors")
    named = {f"bert.{name}": tensor for name, tensor in tensors.items()}
    named |= {"bert.embeddings.position_ids": torch.arange(24)[None], "bert.pooler.dense.weight": torch.ones(32, 32),
              "bert.pooler.dense.bias": torch.ones(32), "cls.predictions.bias": torch.ones(VOCABULARY)}  # fmt: skip
    save_file(named, tmp_path / "model.safetensors")
    layout = Rows(ragged(*LENGTHS))
    assert torch.equal(loaded(tmp_path).features(layout), small("bert").features(layout))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, r"model_type is 'roberta' \(an encoder takes the weights of a BERT\)"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', and the encoder"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"num_attention_heads": 5}, "32 is not a multiple of model.heads"),
        ({"num_hidden_layers": "many"}, "layers"),
    ],
)
def test_other_models_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MetrolineError, match=message) as caught:
        shaped(Config(), saved(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_keys_that_say_otherwise_and_keys_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(MetrolineError, match=r"model\.layers: the recipe says 3, the weights 2 \(leave it out\)"):
        shaped(Config(layers=3), saved(tmp_path))
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({key: values[key] for key in values if key != "hidden_size"}))
    with pytest.raises(MetrolineError, match=r"config\.json has no hidden_size"):
        shaped(Config(), tmp_path)


def test_tensors_that_are_missing_left_over_or_not_finite(tmp_path: Path) -> None:
    path = saved(tmp_path) / "model.safetensors"
    tensors = load_file(path)
    key = "encoder.layer.1.output.dense.bias"
    for change, message in (
        ({key: None}, "lacks 1 tensors that config.json names: encoder.layer.1.output.dense.bias"),
        ({"extra": torch.ones(1)}, "has 1 tensors that config.json does not name: extra"),
        ({key: torch.ones(31)}, r"encoder\.layer\.1\.output\.dense\.bias is \[31\], config\.json says \[32\]"),
        ({key: torch.full((32,), torch.nan)}, "has values that are not finite"),
    ):
        changed = {name: tensor for name, tensor in {**tensors, **change}.items() if tensor is not None}  # type: ignore[dict-item]
        save_file(changed, path)
        with pytest.raises(MetrolineError, match=message):
            loaded(tmp_path)
    path.write_bytes(b"no tensors")
    with pytest.raises(MetrolineError, match="is not a whole safetensors file"):
        loaded(tmp_path)
    path.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(MetrolineError, match="a pickle"):
        loaded(tmp_path)


def test_a_modern_encoder_has_a_folder_of_its_own(tmp_path: Path) -> None:
    save_pretrained(small("modern"), tmp_path)
    network, again = small("modern"), loaded(tmp_path)
    assert (again.config.places, again.config.norm, again.config.hidden) == ("rope", "pre", 48)
    layout = Rows(ragged(*LENGTHS))
    assert torch.equal(network.features(layout), again.features(layout))
    with pytest.raises(MetrolineError, match=r"model\.norm: the recipe says post, the weights pre"):
        shaped(Config(norm="post"), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "architectures": ["MetrolineSomethingElse"]}))
    with pytest.raises(MetrolineError, match="model_type is None"):
        shaped(Config(), tmp_path)
    del values["model"]["layers"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(MetrolineError, match=r"config\.json has no model\.layers"):
        shaped(Config(), tmp_path)


@pytest.mark.peer
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_the_vectors_of_transformers(tmp_path: Path, activation: str, transformers: ModuleType) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24, hidden_act=activation,
    )  # fmt: skip
    peer = transformers.BertModel(config).eval()
    with torch.no_grad():
        for weight in peer.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    peer.save_pretrained(tmp_path / "theirs")
    ours, tokens = loaded(tmp_path / "theirs"), ragged(*LENGTHS)
    there = tokens != 0
    with torch.no_grad():
        expected = peer(tokens, attention_mask=there.long()).last_hidden_state[there]
        for layout in (Rows(tokens), Packed(tokens)):
            made = ours.features(layout)
            made = made[there] if isinstance(layout, Rows) else made[0]
            torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    save_pretrained(ours, tmp_path / "ours")
    again = transformers.BertModel.from_pretrained(tmp_path / "ours", add_pooling_layer=False).eval()
    with torch.no_grad():
        made = again(tokens, attention_mask=there.long()).last_hidden_state[there]
    torch.testing.assert_close(made, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.peer
def test_minilm_has_the_vectors_and_tokens_of_transformers(
    tmp_path: Path, minilm: Path, transformers: ModuleType
) -> None:
    """The real weights. Their tokenizer.json cuts and fills up to 128 tokens by itself, which ours does not."""
    texts = ["spelt [MASK]", "Wie groß ist naïve — 12,5 % 鸡?", "word " * 300]
    tokenizer = Tokenizer.load(text_side.read(minilm).save(tmp_path))
    peer_tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    rows = [[*tokenizer.first, *ids, *tokenizer.last] for ids in tokenizer.encode_batch(texts)]
    assert len(rows[2]) == 302
    assert rows[1] == peer_tokenizer(texts[1])["input_ids"]
    assert rows[2] == peer_tokenizer(texts[2], truncation=False)["input_ids"]
    assert peer_tokenizer.mask_token_id not in rows[0]  # a text cannot write special tokens
    network = build(shaped(Config(), minilm), (302, tokenizer.vocab_size), 2, torch.Generator())
    first(network, minilm)
    peer = transformers.BertModel.from_pretrained(minilm, dtype=torch.float32).eval()
    tokens = torch.zeros(3, 302, dtype=torch.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = torch.tensor(row)
    there = tokens != 0
    with torch.no_grad():
        expected = peer(tokens, attention_mask=there.long()).last_hidden_state[there]
        torch.testing.assert_close(network.eval().features(Packed(tokens))[0], expected, atol=2e-5, rtol=1e-4)
