"""The network of a supervised task: an entry with fitted constants, the recipe's model, and the way to an answer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from base.errors import MetrolineError
from base.files import read_object, write_json
from data.signature import LabelsOutput, Signature
from models.common.entries import entry
from pipelines.tasks.supervised.begin import module_of

if TYPE_CHECKING:
    from pydantic import BaseModel

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Network(nn.Module):
    """Decoded inputs [B, ...] → logits [B, labels], or numbers in units of the target's spread [B, names]."""

    center: Tensor
    spread: Tensor

    def __init__(self, inner: nn.Module, body: nn.Module, center: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.entry, self.body = inner, body
        self.frozen = False
        self.register_buffer("center", center)
        self.register_buffer("spread", spread)

    def freeze(self) -> None:
        """From now on only the head learns: all else keeps its weights and running statistics."""
        self.frozen = True
        self.requires_grad_(False)
        self.body.get_submodule("head").requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """See `torch.nn.Module`; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.entry.eval()
            for name, part in self.body.named_children():
                part.train(mode and name == "head")
        return self

    def forward(self, inputs: Tensor, seed: Tensor | None = None) -> Tensor:
        """`seed`: of dropout; None: none."""
        return self.body(self.entry(inputs), seed)


class Answers(nn.Module):
    """What is exported: decoded inputs → probabilities, or numbers in their own units."""

    def __init__(self, network: nn.Module, labels: bool) -> None:
        super().__init__()
        self.network, self.labels = network, labels

    def forward(self, inputs: Tensor) -> Tensor:
        """For labels `spread` is the temperature that makes probabilities mean what they say on `valid`."""
        raw = self.network(inputs).float()
        scaled = self.network.center + self.network.spread * raw
        return torch.softmax(scaled, 1) if self.labels else scaled


def signature_of(index: dict[str, Any]) -> Signature:
    """The signature that prepare stored."""
    return Signature.model_validate(index["signature"])


def build(model: "BaseModel", index: dict[str, Any], generator: torch.Generator) -> Network:
    """The network with its first weights for prepared data. Raises MetrolineError: a model that takes no such input."""
    signature, fitted = signature_of(index), index["fitted"]
    module = module_of(model.kind)  # type: ignore[attr-defined]
    if not hasattr(module, "build"):
        raise MetrolineError(f"model.kind: {model.kind} is not for {signature.task}")  # type: ignore[attr-defined]
    output = signature.outputs[0]
    labels = isinstance(output, LabelsOutput)
    count = len(output.labels) if isinstance(output, LabelsOutput) else len(output.names)  # type: ignore[union-attr]
    inner, shape = entry(signature, fitted, generator)
    try:
        body = module.build(model, shape, count, generator)
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        words = " ".join(str(error).split())
        raise MetrolineError(
            f"model.kind: {model.kind} cannot take {signature.inputs[0].kind} of shape {list(shape)}: {words}"  # type: ignore[attr-defined]
        ) from None
    center = torch.zeros(count) if labels else torch.tensor(fitted["target_mean"], dtype=torch.float32)
    spread = torch.ones(count) if labels else torch.tensor(fitted["target_std"], dtype=torch.float32)
    return Network(inner, body, center, spread)


def save(network: nn.Module, folder: Path, **facts: Any) -> None:
    """Write weights with all buffers, and `facts` as config.json."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_json(folder / CONFIG, facts)


def load(model: "BaseModel", index: dict[str, Any], checkpoint: Path) -> tuple[Network, dict[str, Any]]:
    """The trained network in evaluation mode, and its facts. Raises MetrolineError: none there, or of other data."""
    facts = read_object(checkpoint / CONFIG, hint="train again")
    network = build(_as_trained(model, facts), index, torch.Generator())
    fill(network, checkpoint)
    return network, facts


def fill(network: nn.Module, checkpoint: Path) -> None:
    """Put the checkpoint's weights into the network, in evaluation mode. Raises MetrolineError: none there, or of
    another recipe."""
    try:
        network.load_state_dict(load_file(checkpoint / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        words = " ".join(str(error).split())[:200]
        raise MetrolineError(f"{checkpoint / WEIGHTS} does not fit the recipe: {words}", hint="train again") from None
    network.eval()


def _as_trained(model: "BaseModel", facts: dict[str, Any]) -> "BaseModel":
    """The recipe's model with the keys that it leaves out as the checkpoint has them: the weights of others, which
    training began with, may have said what they are. Raises MetrolineError: what the recipe says is another."""
    stored, said = facts.get("model"), model.model_dump(mode="json", exclude_unset=True)
    if not isinstance(stored, dict):
        return model
    for key, value in said.items():
        if stored.get(key) != value:
            raise MetrolineError(
                f"the checkpoint has model.{key} {stored.get(key)}, the recipe {value}", hint="train again"
            )
    return type(model).model_validate(stored)
