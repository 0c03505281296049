"""QLoRA: adapters over a base in four bits compute, learn, merge and are stored as those over what the bits mean."""

import copy

import pytest
import torch
from torch import nn

from base.errors import MetrolineError
from base.files import read_json, write_json
from kernels.nf4 import dequantize, quantize
from models import adapter_files
from models.adapters import Form, adapted, attach, hidden_numbers, merge
from tests.models.test_adapters import HEAD, IDS, decoder, drawn, randomise

FORMS = {"qlora": Form(4, 8.0, quantized=True), "qdora": Form(4, 8.0, decomposed=True, quantized=True)}


def rounded(network):
    """The network with its inner linear layers as four bits have them."""
    found = copy.deepcopy(network)
    for name, module in found.named_modules():
        if type(module) is nn.Linear and f"{name}.weight" not in HEAD:
            module.weight = nn.Parameter(dequantize(quantize(module.weight)))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_it_is_an_adapter_on_what_the_bits_mean(form):
    """Outputs, gradients of A and B, with a norm's gain and without."""
    over_bits, over_values = decoder(), rounded(decoder())
    attach(over_bits, FORMS[form], ["*"], drawn(), HEAD)
    attach(over_values, Form(4, 8.0, decomposed=FORMS[form].decomposed), ["*"], drawn(), HEAD)
    randomise(over_bits)
    randomise(over_values)
    ours, theirs = over_bits(IDS), over_values(IDS)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weights = [[weight for weight in each.parameters() if weight.requires_grad] for each in (over_bits, over_values)]
    grads = [torch.autograd.grad(out.square().sum(), mine) for out, mine in zip((ours, theirs), weights, strict=True)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_merged_it_computes_the_same(form):
    network = decoder()
    attach(network, FORMS[form], ["*"], drawn(), HEAD)
    randomise(network)
    before = network(IDS)
    merge(network)
    assert not adapted(network)
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    torch.testing.assert_close(network(IDS), before, rtol=1e-4, atol=1e-5)


def test_only_the_adapter_learns_and_the_base_is_small():
    network, plain = decoder(), decoder()
    attach(network, FORMS["qlora"], ["*"], drawn(), HEAD)
    assert all(weight.requires_grad == ("lora" in name) for name, weight in network.named_parameters())
    layers = adapted(network).values()
    held = sum(layer.packed().bytes for layer in layers)
    whole = sum(4 * layer.in_features * layer.out_features for layer in layers)
    assert held / whole < 0.14
    numbers = sum(weight.numel() for name, weight in network.named_parameters() if "lora" not in name)
    assert numbers + hidden_numbers(network) == sum(weight.numel() for weight in plain.parameters())
    float_one = decoder()
    attach(float_one, Form(4, 8.0), ["*"], drawn(), HEAD)
    assert network.flops_per_token(16) == float_one.flops_per_token(16)


def test_files_say_that_the_base_was_packed(tmp_path):
    network, again, other = decoder(), decoder(), decoder()
    attach(network, FORMS["qlora"], ["*"], drawn(), HEAD)
    randomise(network)
    adapter_files.write(network, tmp_path, base="b", base_sha256="0" * 64, published=str)
    adapter_files.read(tmp_path, again, base_sha256="0" * 64, published=str)
    torch.testing.assert_close(again(IDS), network(IDS))
    config = read_json(tmp_path / adapter_files.CONFIG)
    write_json(tmp_path / adapter_files.CONFIG, config | {"base_quantized": "int3"})
    with pytest.raises(MetrolineError, match="base_quantized is int3, only nf4 is known"):
        adapter_files.read(tmp_path, other, base_sha256="0" * 64, published=str)
