"""The head of BERT's pretraining: the logits of `transformers`, folders of both styles, and hidden places alone."""

from pathlib import Path

import pytest
import torch

from base.errors import MetrolineError
from models.encoder import huggingface_masked
from models.encoder.masked import MaskedLanguageModel
from models.encoder.network import Config, build, first, shaped
from tests.models.encoder.small_encoders import STYLES, VOCABULARY, ragged, small

TOKENS = ragged(1, 3, 7, 12)
HIDDEN = torch.tensor([0, 13, 24, 40, 47])


def made(style: str, **changes: object) -> MaskedLanguageModel:
    """With every weight moved away from its first value."""
    generator = torch.Generator().manual_seed(5)
    network = MaskedLanguageModel(small(style, **changes), generator)
    with torch.no_grad():
        for weight in (network.dense.bias, network.norm.weight, network.norm.bias, network.bias):
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return network.eval()


@torch.no_grad()
def logits(network: MaskedLanguageModel) -> torch.Tensor:
    return network.logits(network(TOKENS, HIDDEN))


@pytest.mark.parametrize("style", STYLES)
def test_a_folder_gives_the_same_logits_and_a_body_to_begin_with(tmp_path: Path, style: str) -> None:
    network = made(style)
    huggingface_masked.save(network, tmp_path)
    assert torch.equal(logits(huggingface_masked.load(tmp_path)), logits(network))
    body = build(shaped(Config(), tmp_path), (20, VOCABULARY), 3, torch.Generator())
    first(body, tmp_path)
    for name, weight in body.layers.state_dict().items():
        assert torch.equal(weight, network.body.layers.state_dict()[name])
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(MetrolineError, match="not a whole safetensors file"):
        huggingface_masked.load(tmp_path)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_logits_are_those_of_transformers(tmp_path: Path, activation: str) -> None:
    transformers = pytest.importorskip("transformers")
    network = made("bert", activation=activation)
    huggingface_masked.save(network, tmp_path)
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        wanted = theirs(input_ids=TOKENS, attention_mask=(TOKENS != 0).long()).logits.flatten(0, 1)[HIDDEN]
    torch.testing.assert_close(logits(network), wanted, atol=2e-4, rtol=1e-4)


def test_a_bias_is_one_more_number_of_the_features() -> None:
    network = made("bert")
    with torch.no_grad():
        features = network(TOKENS, HIDDEN)
        ours, weight = network.biased(features)
        torch.testing.assert_close(ours @ weight.T, network.logits(features))
