"""What the model card says of a masked-language model."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import read_json
from base.markdown import table
from data.signature import FILE, Signature, TextInput
from pipelines.tasks import encoder_folder
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def card(
    recipe: "Recipe", folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]
) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files; `evaluation`: what `measure` wrote."""
    config, units = read_json(folder / "config.json"), "words" if recipe.task.whole_words else "tokens"
    (text,) = Signature.load(folder / FILE).inputs
    assert isinstance(text, TextInput)
    return Card(
        library=encoder_folder.library(folder),
        architecture=str(config["architectures"][0]),
        data=f"Tokenizer: WordPiece, lower case, {config['vocab_size']:,} tokens, made from the train split only.\n"
        f"No document is in two splits. In training {100 * recipe.task.rate:g} % of a window's {units} are hidden, "
        "other ones in every epoch.",
        counts={"documents": "documents", "tokens": "tokens", "bytes": "bytes of text"},
        targets="hidden tokens",
        loss="nats per hidden token",
        output="probability",
        parity="texts of the test split with one word hidden in each, random ones in batches of several sizes, and the "
        "golden items' raw bytes",
        quality=_quality(recipe, metrics),
        limits=tuple(_limits(parity)),
        more=(_inputs(text), _samples(read_json(evaluation / "samples.json"))),
        loading=f"{encoder_folder.loading(folder)}. Other recipes begin with it: "
        f"`pretrained: {{source: {{kind: recipe, name: {recipe.name}}}}}`.",
    )


def _quality(recipe: "Recipe", metrics: Mapping[str, Any]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    rows = [
        ("this model", f"{test['masked_loss']:.4f}", f"{100 * test['accuracy']:.1f} %"),
        ("how often each token stands in train", f"{baselines['unigram_masked_loss']:.4f}",
         f"{100 * baselines['unigram_accuracy']:.1f} %"),
    ]  # fmt: skip
    return (
        f"On the whole test split ({test['tokens']:,} tokens) with {100 * recipe.evaluate.rate:g} % of it hidden, "
        f"{test['hidden']:,} tokens, always the same.\n\n" + table(("", "nats per hidden token", "found at once"), rows)
    )


def _inputs(text: TextInput) -> str:
    lines = [
        f"`{text.name}`: a text of at most {text.length:,} tokens with {text.mask} once, in place of the token to be "
        "found; without it, or with several, it is refused.",
        "`token`: tokens with their probabilities, the likeliest first; one that begins with `##` goes on with the "
        "word before.",
    ]
    return "## Inputs and outputs\n\n" + "\n".join(f"- {line}" for line in lines)


def _samples(samples: Iterable[Mapping[str, Any]]) -> str:
    rows = [(each["text"], ", ".join(f"{token} {100 * score:.1f} %" for token, score in each["answers"]))
            for each in samples]  # fmt: skip
    return "## Samples\n\nChosen by the recipe.\n\n" + table(("text", "answers"), rows) if rows else ""


def _limits(parity: Mapping[str, Any]) -> Iterator[str]:
    yield "It finds one token, in the manner of its data; what it says may be false or offensive as these are."
    yield "It is a beginning: classification, embeddings and the like are trained from it."
    if why := parity.get("int8", {}).get("left_out"):
        yield f"It has no int8 form: {why}."
    elif "int8" in parity:
        yield f"The int8 form was judged on {parity['int8']['items']:,} texts of the test split with one word hidden."
