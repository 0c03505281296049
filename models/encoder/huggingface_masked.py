"""An encoder with the head of its pretraining as a folder, which of a BERT `transformers.BertForMaskedLM` loads.

    save(network, Path("folder"))
    network = load(Path("folder"))

What is trained further from such a folder takes its encoder (`models.encoder.huggingface.fill`) and leaves the head.
"""

from pathlib import Path

import torch

from models.decoder.weight_files import read_safetensors, weight_files
from models.encoder.huggingface import described, is_bert, shaped, tensors, write
from models.encoder.masked import MaskedLanguageModel
from models.encoder.model import Encoder
from models.encoder.shape import EncoderConfig

HEAD = {
    "dense.weight": "cls.predictions.transform.dense.weight",
    "dense.bias": "cls.predictions.transform.dense.bias",
    "norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "bias": "cls.predictions.bias",
}
"""Our names → those of BERT's head."""


def save(network: MaskedLanguageModel, folder: Path) -> None:
    """Write config.json and model.safetensors."""
    write(folder, _named(network), described(network.body, "ForMaskedLM"))


def load(folder: Path) -> MaskedLanguageModel:
    """A folder that `save` wrote, in evaluation mode. Raises MetrolineError: missing, damaged, of another shape."""
    config, generator = shaped(EncoderConfig(), folder), torch.Generator()
    network = MaskedLanguageModel(Encoder(config, (config.context, config.vocabulary), 1, generator), generator)
    mine = _named(network)
    found = read_safetensors(weight_files(folder), {name: tuple(each.shape) for name, each in mine.items()})
    with torch.no_grad():
        for name, each in mine.items():
            each.copy_(found[name])
    return network.eval()


def _named(network: MaskedLanguageModel) -> dict[str, torch.Tensor]:
    """All weights by their names in a folder."""
    weights, bert = network.state_dict(), is_bert(network.body.config)
    head = {theirs if bert else ours: weights[ours] for ours, theirs in HEAD.items()}
    return tensors(network.body, "bert." if bert else "body.") | head
