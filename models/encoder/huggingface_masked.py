"""BERT with the head of its pretraining as a Hugging Face folder, which `transformers.BertForMaskedLM` loads.

    save(network, Path("folder"))
    network = load(Path("folder"))

What is trained further from such a folder takes its encoder (`models.encoder.huggingface.fill`) and leaves the head.
"""

from pathlib import Path

import torch

from models.decoder.weight_files import read_safetensors, weight_files
from models.encoder.huggingface import described, shaped, tensors, write
from models.encoder.masked import MaskedLanguageModel
from models.encoder.model import Encoder
from models.encoder.shape import EncoderConfig

BODY = "bert."
HEAD = {
    "dense.weight": "cls.predictions.transform.dense.weight",
    "dense.bias": "cls.predictions.transform.dense.bias",
    "norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "bias": "cls.predictions.bias",
}
"""Our names → those of BERT's head."""


def save(network: MaskedLanguageModel, folder: Path) -> None:
    """Write config.json and model.safetensors. Raises MetrolineError: an encoder that is no BERT."""
    own = network.state_dict()
    head = {theirs: own[ours] for ours, theirs in HEAD.items()}
    write(folder, tensors(network.body, BODY) | head, described(network.body, "BertForMaskedLM"))


def load(folder: Path) -> MaskedLanguageModel:
    """A folder that `save` wrote, in evaluation mode. Raises MetrolineError: missing, damaged, of another shape."""
    config = shaped(EncoderConfig(), folder)
    network = MaskedLanguageModel(
        Encoder(config, (config.context, config.vocabulary), 1, torch.Generator()), torch.Generator()
    )
    named = tensors(network.body, BODY)
    known = {name: tuple(each.shape) for name, each in named.items()}
    known |= {theirs: tuple(network.state_dict()[ours].shape) for ours, theirs in HEAD.items()}
    found = read_safetensors(weight_files(folder), known)
    with torch.no_grad():
        for name, mine in named.items():
            mine.copy_(found[name])
        for ours, theirs in HEAD.items():
            network.state_dict()[ours].copy_(found[theirs])
    return network.eval()
