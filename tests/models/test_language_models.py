"""Language models of every kind beside the decoder: shapes, what a token may depend on, checkpoints."""

import importlib

import numpy as np
import pytest
import torch

from base.errors import MetrolineError
from base.files import read_json, write_json
from models.checkpoint import LanguageModel, build, load, save
from models.common.activations import ACTIVATIONS
from models.recurrent.network import by_time
from tests.serving.tiny_bundle import character_tokenizer

VOCABULARY = 28
KINDS = {
    "bigram": ("bigram", {}, 1),
    "mlp": ("window_mlp", {"window": 4, "width": 5, "hidden": 12, "layers": 2}, 4),
    "mlp of one": ("window_mlp", {"window": 1, "hidden": 12}, 1),
    "wavenet": ("wavenet", {"layers": 3, "width": 6, "hidden": 10}, 8),
    "rnn": ("recurrent", {"cell": "rnn", "layers": 2, "width": 6, "hidden": 10}, None),
    "lstm": ("recurrent", {"cell": "lstm", "layers": 2, "width": 6, "hidden": 10}, None),
    "gru": ("recurrent", {"cell": "gru", "width": 6, "hidden": 10}, None),
}
"""Name → module, keys, and how many tokens it sees; None: all."""
BORDERS = torch.tensor([0, 5, 12, 13, 24, 30, 36], dtype=torch.int32)
"""Documents in three rows of 12 tokens."""


def make(name: str, **more) -> LanguageModel:
    """A network with weights that are large enough for every token to matter."""
    module, keys, _ = KINDS[name]
    config = importlib.import_module(f"models.{module}.config").Config(vocab_size=VOCABULARY, **keys, **more)
    network = build(config, torch.Generator().manual_seed(0)).eval()
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=chance)
    return network


@pytest.fixture
def tokens():
    return torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", KINDS)
def test_documents_in_a_batch_are_as_alone_and_step_by_step(name, tokens):
    network, flat = make(name), tokens.flatten()
    logits = network(tokens, cu_seqlens=BORDERS)
    assert logits.shape == (3, 12, VOCABULARY)
    for begin, end in zip(BORDERS[:-1].tolist(), BORDERS[1:].tolist(), strict=True):
        document = flat[None, begin:end]
        torch.testing.assert_close(logits.flatten(0, 1)[begin:end], network(document)[0], atol=1e-4, rtol=1e-4)
        stepped, state = network.forward_cached(document, network.empty_cache(1))
        torch.testing.assert_close(stepped, network(document), atol=1e-4, rtol=1e-4)
        assert [part.shape for part in state] == [part.shape for part in network.initial_state(1)]


@pytest.mark.parametrize("name", KINDS)
def test_a_token_sees_its_window_and_nothing_else(name, tokens):
    """Change one token: what came before stays, and so do other documents and what lies beyond the window."""
    network, (_, _, window) = make(name), KINDS[name]
    before = network(tokens, cu_seqlens=BORDERS).flatten(0, 1)
    for place in (0, 7, 12, 15, 29):
        changed = tokens.flatten().clone()
        changed[place] = (changed[place] + 5) % VOCABULARY
        after = network(changed.view(3, 12), cu_seqlens=BORDERS).flatten(0, 1)
        moved = ((after - before).abs().amax(-1) > 1e-5).nonzero().flatten().tolist()
        end = int(BORDERS[place < BORDERS].min())
        assert moved == list(range(place, min(end, place + window) if window else end))


@pytest.mark.parametrize("name", KINDS)
def test_gradients_reach_every_weight(name, tokens):
    network = make(name)
    network(tokens, cu_seqlens=BORDERS).logsumexp(-1).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())
    assert network.parameter_count == sum(weight.numel() for weight in network.parameters())
    assert 0 < network.flops_per_token(12) <= 6 * network.parameter_count


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_cells_are_pytorchs(cell, tokens):
    network = make(cell)
    reference = getattr(torch.nn, cell.upper())(6, 10, num_layers=len(network.layers), batch_first=True)
    with torch.no_grad():
        for i, layer in enumerate(network.layers):
            for part, weight in (("weight_ih", layer.input_proj.weight), ("bias_ih", layer.input_proj.bias),
                                 ("weight_hh", layer.state_proj.weight)):  # fmt: skip
                getattr(reference, f"{part}_l{i}").copy_(weight)
            getattr(reference, f"bias_hh_l{i}").zero_()
            if cell == "gru":
                getattr(reference, f"bias_hh_l{i}")[20:] = layer.candidate_bias
    torch.testing.assert_close(network.features(tokens), reference(network.embed_tokens(tokens))[0])


def test_tokens_by_their_place_in_the_document():
    order, sizes = by_time(torch.tensor([0, 2, 5, 6], dtype=torch.int32))
    assert order.tolist() == [2, 0, 5, 3, 1, 4]
    assert sizes == [3, 2, 1]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_differ(activation, tokens):
    logits = make("mlp", activation=activation)(tokens)
    others = [make("mlp", activation=other)(tokens) for other in ACTIVATIONS if other != activation]
    assert all((logits - other).abs().max() > 1e-3 for other in others)


def test_the_same_seed_draws_the_same_weights():
    config = importlib.import_module("models.recurrent.config").Config(vocab_size=VOCABULARY)
    first, again, other = (build(config, torch.Generator().manual_seed(seed)).head_weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_comes_back(name, tokens, tmp_path):
    character_tokenizer("abc").save(str(tmp_path / "tokenizer.json"))
    network, folder = make(name), tmp_path / "checkpoint"
    save(network, folder, tokenizer=tmp_path / "tokenizer.json", eos=0)
    again = load(folder)
    assert type(again) is type(network)
    assert torch.equal(again(tokens), network(tokens))
    assert read_json(folder / "config.json")["architectures"][0].startswith("Metroline")
    assert read_json(folder / "generation_config.json")["eos_token_id"] == 0
    assert (folder / "tokenizer_config.json").is_file()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "perceptron"}, "there is no model 'perceptron'"),
        ({"kind": "../recurrent"}, "there is no model"),
        ({"kind": "checkpoint"}, "there is no model 'checkpoint'"),
        ({"hidden": 0}, r"model\.hidden"),
        ({"hidden": 11}, "config.json says"),
        ({"layers": 3}, "lacks"),
    ],
)
def test_a_config_that_does_not_fit(change, says, tmp_path):
    character_tokenizer("abc").save(str(tmp_path / "tokenizer.json"))
    save(make("lstm"), tmp_path, tokenizer=tmp_path / "tokenizer.json", eos=0)
    config = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {**config, "model": {**config["model"], **change}})
    with pytest.raises(MetrolineError, match=says):
        load(tmp_path)


def test_no_vocabulary():
    with pytest.raises(ValueError, match="vocab_size is not set"):
        build(importlib.import_module("models.bigram.config").Config())


def test_initial_states_are_zeros():
    for name in KINDS:
        assert all(not np.any(part.numpy()) for part in make(name).initial_state(2))
