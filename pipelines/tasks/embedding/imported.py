"""The network of an embedder: the weights of others, what their tokenizer puts around a text, pooling, length 1."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from base.errors import MetrolineError
from base.files import read_object
from data.records import Records
from data.signature import Signature
from models.common.entries import entry
from models.encoder.huggingface import save_pretrained
from models.encoder.model import Encoder
from pipelines.tasks.supervised.begin import begin, module_of, shaped

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

FILES = ("tokenizer.json", "tokenizer_config.json")


class Embedder(nn.Module):
    """Token ids int64 [B, S], zeros behind each text → float32 [B, W], each row of length 1."""

    def __init__(self, inner: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.entry, self.body = inner, body

    def forward(self, tokens: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class. `seed`: of dropout."""
        return functional.normalize(self.body(self.entry(tokens), seed).float(), dim=1)


class Imported:
    """What `pipelines.training.imported` asks of a learner. Raises MetrolineError: nothing prepared."""

    def __init__(self, recipe: "Recipe", prepared: Path, first: Path | None) -> None:
        self.recipe, self.prepared, self.first = recipe, prepared, first
        records = Records(prepared, "test")
        records.verify()
        self.data_hash = records.data_hash

    def network(self, generator: torch.Generator) -> Embedder:
        """The network with the fetched weights. Raises MetrolineError: damaged, or of another shape."""
        assert self.first is not None
        return read(self.recipe, self.prepared, self.first, generator)

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write a Hugging Face folder that `transformers.AutoModel` loads."""
        assert isinstance(network, Embedder)
        save(network, self.prepared, folder)


def save(network: Embedder, prepared: Path, folder: Path) -> None:
    """Write a Hugging Face folder, with the tokenizer that `prepare` took."""
    assert isinstance(network.body, Encoder)
    save_pretrained(network.body, folder)
    for name in FILES:
        if (path := prepared / name).is_file():
            (folder / name).write_bytes(path.read_bytes())


def read(recipe: "Recipe", prepared: Path, files: Path, generator: torch.Generator | None = None) -> Embedder:
    """The network with the weights in the folder `files`, in evaluation mode."""
    index: dict[str, Any] = dict(read_object(prepared / "index.json"))
    generator = generator or torch.Generator()
    inner, shape = entry(Signature.model_validate(index["signature"]), index["fitted"], generator)
    model = shaped(recipe.model, files)
    with torch.random.fork_rng(devices=[]):
        try:
            body = module_of(recipe.model.kind).build(model, shape, 1, generator)
        except ValueError as error:
            hint = "lower data.length: what stands around a text counts too"
            raise MetrolineError(f"model: {error}", hint=hint) from None
    body.head = nn.Identity()  # what it would be given is the vector
    begin(body, recipe.model, files)
    return Embedder(inner, body).eval()
