"""A checkpoint and the weights that its training began with, to be judged on the same test chats."""

from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import MetrolineError
from data.text.shards import Shards
from models.checkpoint import load
from models.decoder.model import Decoder
from pipelines.tasks.instruction.rows import inputs
from pipelines.tasks.language_modelling.imported import imported

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def before_and_after(
    recipe: "Recipe", checkpoint: Path, prepared: Path, first: Path | None
) -> tuple[Decoder, Decoder, Shards]:
    """(the checkpoint's model, that of the files `first`, the test split), both in evaluation mode.

    Raises MetrolineError: no such weights, a checkpoint of another vocabulary, no test chats, one longer than the
    model's context.
    """
    if first is None:
        raise MetrolineError("evaluate: the weights that training began with are missing", hint="metroline run RECIPE")
    test, model = Shards(prepared, "test"), load(checkpoint).eval()
    if not len(test):
        raise MetrolineError(f"{prepared} has no chat in its test split", hint="raise `test` in the recipe's split")
    base = imported(first, test.vocab_size).eval()
    if not isinstance(model, Decoder) or model.config.vocab_size != base.config.vocab_size:
        raise MetrolineError(f"{checkpoint} was not made of {first}", hint=f"metroline run {recipe.name}")
    if (longest := int(inputs(test).max())) > model.config.context:
        raise MetrolineError(
            f"a test chat shows {longest:,} tokens, more than the model's context ({model.config.context:,})",
            hint="leave long chats out with a smaller data.length",
        )
    return model, base, test
