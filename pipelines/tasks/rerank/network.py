"""The network of a reranker: query and document read together, then how well the query's tokens are met.

The encoder sees both texts as one row, so that each token knows of the other text (a cross-encoder, Nogueira and Cho
2019). The answer is the mean, over the query's tokens, of the cosine with the document's token that is most alike
(MaxSim, Khattab and Zaharia 2020): a body that was trained to embed orders documents before it has seen any pair, which
a new linear layer does not.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from base.errors import MetrolineError
from base.files import read_object, write_json
from data.signature import Signature, TextInput
from models.common.pair_entry import PairEntry
from models.encoder.huggingface import save_pretrained
from models.encoder.layout import Layout, Packed, Rows
from models.encoder.model import Encoder
from pipelines.tasks.retrieval.collection import Tokens
from pipelines.tasks.supervised.begin import begin, module_of, shaped
from pipelines.tasks.supervised.examples import padded

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

SHARPNESS = 20.0
"""What cosines are multiplied by, as embeddings are trained with."""
CALIBRATION = "calibration.json"
BATCH = 1 << 13
"""Tokens, padding among them, that go through the network at once."""


class Reranker(nn.Module):
    """Token ids int64 [B, S] of queries and [B, T] of documents, zeros behind each → a number each, float32 [B]; the
    larger, the better the document answers."""

    scale: Tensor
    shift: Tensor

    def __init__(self, entry: PairEntry, body: Encoder) -> None:
        super().__init__()
        self.entry, self.body = entry, body
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))

    def forward(self, query: Tensor, document: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class. `seed`: of dropout."""
        tokens, types, sides = self.entry(query, document)
        layout: Layout = (Rows if torch.compiler.is_compiling() else Packed)(tokens, types)
        states = functional.normalize(layout.rows(self.body.features(layout, seed)).float(), dim=2)  # [B, S, W]
        asked = slice(0, len(self.entry.before) + query.shape[1])
        alike = states[:, asked] @ states.transpose(1, 2)
        best = torch.where(sides[:, None] == 2, alike.float(), -1.0).amax(2)
        mine = (sides[:, asked] == 1).to(best.dtype)
        return SHARPNESS * (best * mine).sum(1) / mine.sum(1).clamp(min=1)


class Answers(nn.Module):
    """What is exported: → probabilities float32 [B, 2] that the document does not answer the query, and that it does.
    `scale` and `shift` make them mean what they say on `valid`."""

    def __init__(self, network: Reranker) -> None:
        super().__init__()
        self.network = network

    def forward(self, query: Tensor, document: Tensor) -> Tensor:
        """See the class."""
        logits = self.network.scale * self.network(query, document) + self.network.shift
        return torch.sigmoid(torch.stack([-logits, logits], 1))


def read(recipe: "Recipe", index: dict[str, Any], files: Path, generator: torch.Generator | None = None) -> Reranker:
    """The network with the weights in the folder `files`, in evaluation mode. Raises MetrolineError: texts longer than
    the model's context; weights that are damaged or of another shape."""
    generator = generator or torch.Generator()
    before, after = index["fitted"].get("frame", ((), ()))
    lengths = [each.length for each in Signature.model_validate(index["signature"]).inputs
               if isinstance(each, TextInput)]  # fmt: skip
    length = sum(lengths) + len(before) + 2 * len(after)
    with torch.random.fork_rng(devices=[]):  # PyTorch's modules draw weights of their own first
        try:
            shape = (length, int(index["fitted"]["vocabulary"]))
            body = module_of(recipe.model.kind).build(shaped(recipe.model, files), shape, 1, generator)
        except ValueError as error:
            hint = "lower data.length or data.query_length"
            raise MetrolineError(f"model: a pair has {length} tokens: {error}", hint=hint) from None
    body.head = nn.Identity()
    begin(body, recipe.model, files)
    network = Reranker(PairEntry(before, after), body).eval()
    if (path := files / CALIBRATION).is_file():
        for name, value in read_object(path).items():
            network.get_buffer(name).fill_(float(value))
    return network


def save(network: Reranker, prepared: Path, folder: Path) -> None:
    """Write a Hugging Face folder of the body, and how its numbers become probabilities."""
    save_pretrained(network.body, folder)
    write_json(folder / CALIBRATION, {"scale": float(network.scale), "shift": float(network.shift)})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (path := prepared / name).is_file():
            (folder / name).write_bytes(path.read_bytes())


@torch.no_grad()
def scores(network: Reranker, pairs: Sequence[tuple[Tokens, Tokens]]) -> NDArray[np.float32]:
    """Logits [pairs] of (query, document), neighbours of about one length together."""
    device = network.scale.device
    order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
    found = np.zeros(len(pairs), np.float32)
    at = 0
    while at < len(order):
        size = max(1, BATCH // sum(map(len, pairs[order[min(at + 32, len(order) - 1)]])))
        places = order[at : at + size]
        sides = (torch.from_numpy(padded([pairs[place][side] for place in places])).to(device) for side in (0, 1))
        found[places] = network(*sides).cpu().numpy()
        at += size
    return found
