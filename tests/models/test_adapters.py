"""Adapters in a network: what they compute, what a gradient reaches, and what merging makes of them."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.errors import MetrolineError
from models.adapters import Adapted, Form, adapted, attach, merge, project, unused
from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from models.vit.config import Config as ViTConfig
from models.vit.network import build as build_vit

FORMS = {
    "lora": Form(4, 8.0),
    "rslora": Form(4, 8.0, stabilized=True),
    "dora": Form(4, 8.0, decomposed=True),
    "rsdora": Form(4, 8.0, stabilized=True, decomposed=True),
}
HEAD = ("lm_head.weight",)


def decoder(**values: Any) -> Decoder:
    shape = {"context": 32, "layers": 2, "heads": 4, "kv_heads": 2, "width": 64, "hidden": 96, "qk_norm": True}
    config = DecoderConfig.model_validate({"vocab_size": 97, **shape, **values})
    model = Decoder(config, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # norms of a trained network are not all one, and its biases not zero
        for weight in model.parameters():
            if weight.dim() == 1:
                weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return model


def randomise(network: nn.Module, seed: int = 3) -> None:
    """Adapters as after some training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in adapted(network).values():
            layer.lora_b.copy_(0.2 * torch.randn(layer.lora_b.shape, generator=generator))
            if layer.magnitude is not None:
                layer.magnitude.mul_(1 + 0.2 * torch.rand(layer.magnitude.shape, generator=generator))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IDS = torch.randint(0, 97, (2, 20), generator=torch.Generator().manual_seed(1))


def test_the_scaling_is_that_of_the_papers() -> None:
    assert Form(8, 16.0).scaling() == 2.0
    assert Form(16, 16.0, stabilized=True).scaling() == 4.0
    assert Form(9, 6.0, stabilized=True, decomposed=True).scaling() == pytest.approx(6 / math.sqrt(9))


@pytest.mark.parametrize("kind", FORMS)
def test_a_layer_computes_what_the_papers_say(kind: str) -> None:
    form, generator = FORMS[kind], drawn()
    linear = nn.Linear(12, 10)
    layer = Adapted(linear, form, generator)
    x = torch.randn(3, 5, 12, generator=generator)
    assert torch.allclose(layer(x), linear(x), atol=1e-6), "it begins as the layer"
    assert float(layer.lora_a.detach().abs().max()) <= 1 / math.sqrt(12)
    with torch.no_grad():
        layer.lora_b.normal_(generator=generator)
        if layer.magnitude is not None:
            layer.magnitude.mul_(1.5)
    whole = linear.weight.double() + form.scaling() * layer.lora_b.double() @ layer.lora_a.double()
    if layer.magnitude is not None:
        whole = layer.magnitude.double()[:, None] * whole / whole.norm(dim=1, keepdim=True)
    expected = x.double() @ whole.t() + linear.bias.double()
    assert torch.allclose(layer(x).double(), expected, atol=1e-5)
    assert torch.allclose(layer.merged()(x).double(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize(
    "shape",
    [{}, {"qk_norm": False, "bias": True, "norm": "layernorm", "activation": "gelu", "tied": False}],
    ids=["llama", "layernorm and biases"],
)
def test_a_merged_decoder_computes_the_same(kind: str, shape: dict[str, Any]) -> None:
    model = decoder(**shape)
    before = model(IDS).detach()
    attach(model, FORMS[kind], ["*"], drawn(), HEAD)
    assert len(adapted(model)) == 2 * (7 if not shape else 6)
    assert torch.allclose(model(IDS), before, atol=1e-5), "B is zero"
    randomise(model)
    with torch.no_grad():
        changed = model(IDS)
        cached, _ = model.forward_cached(IDS, model.empty_cache(2), torch.tensor([20, 20]))
        assert float((changed - before).abs().max()) > 0.01
        assert torch.allclose(cached, changed, atol=1e-5)
        merge(model)
        assert not adapted(model)
        assert all(weight.requires_grad for weight in model.parameters())
        assert torch.allclose(model(IDS), changed, atol=1e-5)
    with pytest.raises(ValueError, match="no adapter to merge"):
        merge(model)


@pytest.mark.parametrize("kind", FORMS)
def test_only_adapters_get_gradients_and_these_are_right(kind: str) -> None:
    """Against autograd through the sum W + scaling · B A itself; DoRA's lengths are constants there."""
    model, form = decoder(), FORMS[kind]
    attach(model, form, ["q_proj", "gate_proj", "down_proj"], drawn())
    randomise(model)
    reference = copy.deepcopy(model)
    model(IDS).square().mean().backward()
    assert unused(model) == []
    for name, weight in model.named_parameters():
        assert (weight.grad is not None) == (name.rpartition(".")[2] in ("lora_a", "lora_b", "magnitude")), name

    def forward(layer: Adapted, x: Tensor) -> Tensor:
        whole = layer.weight + layer.scaling * layer.lora_b @ layer.lora_a
        if layer.magnitude is not None:
            whole = (layer.magnitude / whole.detach().norm(dim=1))[:, None] * whole
        return F.linear(x, whole, layer.bias)

    def plainly(x: Tensor, linears: list[nn.Linear], gain: Tensor | None = None) -> Tensor:
        return torch.cat([linear(x if gain is None else x * gain) for linear in linears], -1)

    layers = adapted(reference)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adapted, "forward", forward)
        patch.setattr("models.decoder.model.project", plainly)
        reference(IDS).square().mean().backward()
    for name, layer in adapted(model).items():
        for part in ("lora_a", "lora_b", "magnitude"):
            ours, theirs = getattr(layer, part), getattr(layers[name], part)
            if ours is not None:
                assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6), (name, part)


def test_the_same_seed_draws_the_same_adapters() -> None:
    states = []
    for seed in (4, 4, 5):
        model = decoder()
        attach(model, FORMS["lora"], ["*_proj"], drawn(seed))
        states.append({name: layer.lora_a for name, layer in adapted(model).items()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not any(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_frozen_layers_without_an_adapter_are_multiplied_by_as_they_are() -> None:
    linears = [nn.Linear(8, 6), Adapted(nn.Linear(8, 4, bias=False), Form(2, 4.0), drawn())]
    x, gain = torch.randn(3, 8, generator=drawn()), torch.rand(8, generator=drawn())
    assert torch.allclose(project(x, linears, gain), torch.cat([part(x * gain) for part in linears], -1), atol=1e-6)


def test_a_network_of_plain_linear_layers() -> None:
    """Nothing of a ViT knows of adapters."""
    config = ViTConfig(patch=4, width=32, layers=1, heads=2)
    vit = build_vit(config, (3, 8, 8), 5, drawn()).eval()
    images = torch.randn(2, 3, 8, 8, generator=drawn())
    with torch.no_grad():
        vit.head.weight.normal_(generator=drawn())
    before = vit(images).detach()
    attach(vit, FORMS["dora"], ["*"], drawn(), ("head.weight", "head.bias"))
    assert "head" not in adapted(vit)
    assert torch.allclose(vit(images), before, atol=1e-5)
    randomise(vit)
    vit(images).square().sum().backward()
    assert unused(vit) == []
    with torch.no_grad():
        changed = vit(images)
        merge(vit)
        assert float((changed - before).abs().max()) > 0.01
        assert torch.allclose(vit(images), changed, atol=1e-5)


def test_under_autocast_a_layer_gives_what_a_plain_one_gives() -> None:
    for kind in FORMS.values():
        layer = Adapted(nn.Linear(12, 10), kind, drawn())
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(torch.randn(3, 12))
        assert out.dtype in (torch.bfloat16, torch.float32)
        out.float().sum().backward()
        assert layer.lora_b.grad is not None


class Idle(nn.Module):
    """Has a layer that it multiplies by behind its back."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.read = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.called(x) @ self.read.weight


def test_rows_have_their_whole_length_under_autocast() -> None:
    """bfloat16 would be off by some thousandths, and what is merged would not be what was trained."""
    linear = nn.Linear(64, 48, bias=False)
    layer = Adapted(linear, FORMS["dora"], torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        lengths = layer._lengths()
    assert lengths.dtype == torch.float32
    torch.testing.assert_close(lengths, layer.magnitude.detach())


def test_a_layer_that_is_not_called_is_found() -> None:
    network = Idle()
    attach(network, Form(2, 2.0), ["*"], drawn())
    network(torch.ones(1, 8)).sum().backward()
    assert unused(network) == ["read"]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["q_prj"], "no linear layer is called q_prj; did you mean q_proj?"),
        (["q_proj", "embed_tokens"], "no linear layer is called embed_tokens"),
        (["lm_head"], "lm_head is the output's layer, which an adapter cannot change"),
    ],
)
def test_targets_that_cannot_be(targets: list[str], message: str) -> None:
    with pytest.raises(MetrolineError) as caught:
        attach(decoder(), FORMS["lora"], targets, drawn(), HEAD)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_networks_that_cannot_have_adapters() -> None:
    model = decoder()
    with pytest.raises(MetrolineError, match=r"a rank of 32 saves nothing on layers\.0\.self_attn\.k_proj"):
        attach(model, Form(32, 8.0), ["k_proj"], drawn())
    with pytest.raises(MetrolineError, match=r"lm_head has its weight in common with embed_tokens\.weight"):
        attach(decoder(tied=True), FORMS["lora"], ["lm_head"], drawn())
    with pytest.raises(MetrolineError, match="BatchNorm"):
        attach(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), Form(2, 2.0), ["0"], drawn())
    attach(model, FORMS["lora"], ["q_proj"], drawn())
    with pytest.raises(MetrolineError, match="has adapters already"):
        attach(model, FORMS["lora"], ["q_proj"], drawn())


def test_merging_into_rounded_weights_is_refused() -> None:
    layer = Adapted(nn.Linear(8, 8).bfloat16(), Form(2, 2.0), drawn())
    with pytest.raises(ValueError, match=r"not into torch\.bfloat16"):
        layer.merged()
