"""Pretrained weights as a decoder, in float32 and otherwise as the file has them.

Reading the file is `models.decoder.gguf`'s; the tokenizer came with `prepare`.
"""

from pathlib import Path

from base.errors import MetrolineError
from base.progress import Progress
from data.text.weights import find
from models.decoder.gguf import load
from models.decoder.model import Decoder


def imported(files: Path, vocab_size: int) -> Decoder:
    """The model in a folder of fetched files. `vocab_size`: of the prepared data.

    Raises MetrolineError: nothing fetched, damaged or unsupported weights, a tokenizer of another model.
    """
    if not files.is_dir():
        raise MetrolineError(f"{files} is missing", hint="metroline stage fetch RECIPE")
    weights = find(files)
    with Progress("import", total=1, unit="steps") as progress:
        model = load(weights)
        progress.update(1, parameters=model.parameter_count)
    if model.config.vocab_size < vocab_size:
        raise MetrolineError(
            f"{weights} has embeddings for {model.config.vocab_size:,} tokens, its tokenizer has {vocab_size:,}",
            hint="metroline stage prepare RECIPE",
        )
    return model
