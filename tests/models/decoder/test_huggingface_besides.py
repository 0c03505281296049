"""What a folder holds besides its weights: a second head, a mask, frequencies. Used, equal to ours, or an error."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from base.errors import MetrolineError
from models.decoder.huggingface import load, save_pretrained
from tests.models.decoder.small_decoders import build, tokens

FREQUENCIES = 10_000.0 ** -(torch.arange(0, 16, 2) / 16)
MASK = torch.ones(1, 1, 32, 32).tril()


def change(folder, model, **added):
    """The model's folder with tensors added under names whose dots are written as __."""
    save_pretrained(model, folder)
    tensors = load_file(folder / "model.safetensors")
    named = {name.replace("__", "."): tensor.clone() for name, tensor in added.items()}
    save_file(tensors | named, folder / "model.safetensors", metadata={"format": "pt"})


def head(model, by=0.3):
    return model.head_weight.detach() + by * torch.randn(61, 64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("style", ["llama", "qwen3", "arcee", "gpt2", "own"])
def test_a_head_of_its_own_unties_the_model(style, tmp_path):
    model = build(style)
    other = head(model)
    change(tmp_path, model, lm_head__weight=other)
    again = load(tmp_path)
    assert not again.config.tied
    assert torch.allclose(again(tokens(2, 9)), model.features(tokens(2, 9)) @ other.T, atol=1e-4)
    save_pretrained(again, tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved")(tokens(2, 9)), again(tokens(2, 9)))


@pytest.mark.parametrize("style", ["llama", "gpt2", "own"])
def test_a_head_equal_to_the_embedding_is_a_copy(style, tmp_path):
    model = build(style)
    change(tmp_path, model, lm_head__weight=model.head_weight.detach())
    again = load(tmp_path)
    assert again.config == model.config
    assert again.head_weight is again.embed_tokens.weight
    assert torch.equal(again(tokens(2, 9)), model(tokens(2, 9)))


@pytest.mark.peer
@pytest.mark.parametrize("style", ["llama", "qwen3", "arcee", "gpt2"])
@pytest.mark.parametrize("by", [0.0, 0.3])
def test_transformers_computes_the_same_with_a_second_head(style, by, tmp_path, transformers):
    model = build(style)
    change(tmp_path, model, lm_head__weight=head(model, by))
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert (load(tmp_path)(tokens(2, 9)) - peer(tokens(2, 9)).logits).abs().max() < 1e-4


def test_gpt2_as_its_makers_published_it(tmp_path):
    """Names without `transformer.`, and the causal mask among the weights."""
    model = build("gpt2")
    save_pretrained(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    plain = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    mask = {"h.0.attn.bias": MASK, "h.1.attn.bias": MASK.bool(), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    save_file(plain | mask, tmp_path / "model.safetensors")
    assert torch.equal(load(tmp_path)(tokens(2, 9)), model(tokens(2, 9)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_llama_with_its_frequencies(dtype, tmp_path):
    model = build("llama")
    change(tmp_path, model, model__layers__1__self_attn__rotary_emb__inv_freq=FREQUENCIES.to(dtype))
    assert torch.equal(load(tmp_path)(tokens(2, 9)), model(tokens(2, 9)))


@pytest.mark.parametrize(
    ("style", "added", "message"),
    [
        ("llama", {"model__rotary_emb__inv_freq": FREQUENCIES / 8}, "inv_freq is not what config.json describes"),
        ("gpt2", {"transformer__h__0__attn__bias": torch.ones(1, 1, 32, 32)}, "attn.bias is not what config.json"),
        ("gpt2", {"transformer__h__0__attn__masked_bias": torch.tensor(0.0)}, "masked_bias is not what config.json"),
        ("gpt2", {"transformer__h__2__attn__bias": MASK}, "not name: transformer.h.2.attn.bias"),
        ("llama", {"model__layers__0__attn__bias": MASK}, "not name: model.layers.0.attn.bias"),
        ("llama", {"model__layers__0__self_attn__q_proj__bias": torch.zeros(64)}, "q_proj.bias"),
        ("own", {"model__rotary_emb__inv_freq": FREQUENCIES}, "does not name: model.rotary_emb.inv_freq"),
    ],
)
def test_what_would_change_the_logits_is_named(style, added, message, tmp_path):
    change(tmp_path, build(style), **added)
    with pytest.raises(MetrolineError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
