"""Stage `train` of a recipe with pretrained weights: import them as the checkpoint.

    metroline stage train smollm2

It trains nothing and changes no weight: what is written is what the file holds, in float32. Reading the file is
`models.decoder.gguf`'s; the tokenizer came with `prepare`.
"""

from typing import TYPE_CHECKING

from base.errors import MetrolineError
from base.files import atomic_folder, read_json, sha256, write_json
from pipelines.paths import Paths

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def import_weights(recipe: "Recipe", paths: Paths) -> None:
    """Write `paths.checkpoint` from the fetched weights and the prepared tokenizer; equal input gives equal bytes.

    Raises MetrolineError: nothing fetched or prepared, damaged or unsupported weights, a tokenizer of another model.
    """
    from base.progress import Progress
    from data.text.pretrained import find
    from models.decoder.gguf import load
    from models.decoder.huggingface import save_pretrained

    tokenizer, index_path = paths.prepared / "tokenizer.json", paths.prepared / "index.json"
    for path in (paths.pretrained, tokenizer, index_path):
        if not path.exists():
            raise MetrolineError(f"{path} is missing", hint=f"metroline run {recipe.name}")
    index = read_json(index_path)
    weights = find(paths.pretrained / "files")
    with Progress("import", total=2, unit="steps") as progress:
        model = load(weights)
        progress.update(1, parameters=model.parameter_count)
        if model.config.vocab_size < index["vocab_size"]:
            raise MetrolineError(
                f"{weights} has embeddings for {model.config.vocab_size:,} tokens, its tokenizer has "
                f"{index['vocab_size']:,}",
                hint=f"metroline stage prepare {recipe.name}",
            )
        with atomic_folder(paths.checkpoint) as folder:
            save_pretrained(model, folder, tokenizer=tokenizer)
            record = {"recipe": recipe.name, "parameters": model.parameter_count, "data_hash": index["data_hash"]}
            files = [weights] if weights.is_file() else sorted(weights.glob("*.safetensors"))
            write_json(folder / "training.json", record | {"imported": {file.name: sha256(file) for file in files}})
        progress.update(1)
