"""Judge a masked-language model on the test split, with seeded masks, beside how often each token stands anywhere."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from base.errors import MetrolineError
from base.files import write_json
from base.progress import Progress
from data.drift import reference
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from models.encoder import huggingface_masked
from models.encoder.masked import MaskedLanguageModel
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.masked_language.answers import Answers
from pipelines.tasks.masked_language.batches import Hidden
from pipelines.tasks.masked_language.blanks import TOP, Blanks, asked
from pipelines.tasks.masked_language.held_out import held_out
from pipelines.tasks.masked_language.unigram import unigram

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

PRIMARY = Primary("test.masked_loss", "lower", "baselines.unigram_masked_loss")
SAMPLES, REFERENCE = "samples.json", "reference.json"
KEPT = 256  # texts in the drift reference


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """See the module. Raises MetrolineError: no test split, another vocabulary, a loss that is not finite."""
    tokenizer, network = Tokenizer.load(prepared / "tokenizer.json"), load(checkpoint, prepared)
    test = Shards(prepared, "test")
    if not test.bytes:
        raise MetrolineError(f"{prepared} has no text in its test split", hint="raise `test` in the recipe's split")
    nats: list[NDArray[np.float32]] = []
    right: list[NDArray[np.bool_]] = []
    targets: list[NDArray[np.int64]] = []
    with Progress("evaluate", test.total_tokens, "tokens") as progress:
        for made in held_out(recipe, tokenizer, test):
            loss, first = scored(network, made)
            nats.append(loss)
            right.append(first)
            targets.append(made.targets)
            progress.update(int((made.tokens != 0).sum()) - 2 * len(made.tokens))
    hidden, found = np.concatenate(targets), float(np.concatenate(nats).mean(dtype=np.float64))
    if not math.isfinite(found):
        raise MetrolineError("evaluate: the loss on the test split is not finite", hint="look at the training curve")
    shares = unigram(Shards(prepared, "train"), tokenizer)
    blanks, answers = Blanks(recipe, prepared, "test", KEPT), answering(network, prepared)
    with torch.no_grad():
        rows = [(item.tokens, answers(torch.from_numpy(item.tokens[None]))[0].numpy()) for item in blanks.items]
        samples = [_sample(text, answers(torch.from_numpy(tokens[None]))[0].numpy(), tokenizer)
                   for text, tokens in asked(recipe, prepared)]  # fmt: skip
    write_json(folder / REFERENCE, reference(blanks.signature, ((a,) for a, _ in rows), ((b,) for _, b in rows)))
    write_json(folder / SAMPLES, samples)
    return Measured(
        {
            "masked_loss": found,
            "accuracy": float(np.concatenate(right).mean()),
            "hidden": len(hidden),
            "tokens": test.total_tokens,
        },
        PRIMARY,
        {
            "unigram_masked_loss": float(-np.log(shares[hidden]).mean()),
            "unigram_accuracy": float((hidden == shares.argmax()).mean()),
        },
    )


@torch.no_grad()
def scored(network: MaskedLanguageModel, made: Hidden) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Nats of each hidden token, and whether it was the likeliest, both [M]."""
    targets = torch.from_numpy(made.targets)
    logits = network.logits(network(torch.from_numpy(made.tokens), torch.from_numpy(made.hidden))).float()
    nats = functional.cross_entropy(logits, targets, reduction="none")
    return nats.numpy(), (logits.argmax(1) == targets).numpy()


def load(checkpoint: Path, prepared: Path) -> MaskedLanguageModel:
    """The checkpoint in evaluation mode. Raises MetrolineError: it is of other data."""
    network = huggingface_masked.load(checkpoint)
    if network.bias.numel() < Tokenizer.load(prepared / "tokenizer.json").vocab_size:
        raise MetrolineError(f"{checkpoint} was trained on other data than {prepared}", hint="train again")
    return network


def answering(network: MaskedLanguageModel, prepared: Path) -> Answers:
    """The network as it is exported, in evaluation mode."""
    return Answers(network, Tokenizer.load(prepared / "tokenizer.json")).eval()


def _sample(text: str, scores: NDArray[np.float32], tokenizer: Tokenizer) -> dict[str, object]:
    best = np.argsort(-scores, kind="stable")[:TOP].tolist()
    return {
        "text": text,
        "answers": [[str(tokenizer.inner.id_to_token(token)), float(scores[token])] for token in best],
    }
