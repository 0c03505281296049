"""What the model card says of classification and regression."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.markdown import table
from data.signature import FILE, LabelsOutput, Signature
from pipelines.tasks.interface import Card
from pipelines.tasks.supervised.metrics import GAIN

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

ELSEWHERE = ("items", *GAIN)
"""Values of the test split that the table of all of them leaves out."""
PICTURES = {"confusion.png": "Confusion matrix", "reliability.png": "Reliability", "scatter.png": "Answers"}


def card(recipe: "Recipe", folder: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files."""
    signature = Signature.load(folder / FILE)
    labels = isinstance(signature.outputs[0], LabelsOutput)
    pictures = frozenset(path.name for path in folder.glob("*.png"))
    return Card(
        library="metroline",
        architecture=recipe.model.kind,
        data=f"{_split(recipe)} {_fitted(recipe)}",
        counts={"records": "examples", "bytes": "bytes of input"},
        targets="examples",
        loss="nats" if labels else "squared error over variance",
        output="probability" if labels else "number",
        parity="batches of several sizes of test items and of random ones, and the golden items' raw bytes",
        quality=_quality(metrics, pictures),
        limits=tuple(_limits(recipe, signature, metrics, parity)),
        pictures=pictures,
        more=(_inputs(signature),),
    )


def _split(recipe: "Recipe") -> str:
    found = "Equal inputs share a split."
    if recipe.split.method == "given":
        found = (
            "The splits are those of the data's makers; an input that is in a later split too was left out of train."
        )
    few = [f"{count} of each label are in {split}" for split, count in recipe.split.per_class.items()]
    return f"{found} Only {' and '.join(few)}." if few else found


def _fitted(recipe: "Recipe") -> str:
    source = recipe.pretrained.source
    if source is None:
        return (
            "What is fitted (columns, scales, means of pixels, tokenizer) is fitted on train alone and inside the "
            "exported graph."
        )
    key, name = next((key, str(value)) for key in ("package", "repository", "path", "name", "files")
                     if (value := getattr(source, key, None)))  # fmt: skip
    name = Path(name).name if key == "path" else name  # where it lies on its maker's machine is nobody's business
    learnt = "only its head was trained on these data" if recipe.pretrained.freeze else "both were trained further"
    return (
        f"It began with the weights of `{name}` and a new head; {learnt}. What else is fitted is fitted on train alone."
    )


def _quality(metrics: Mapping[str, Any], pictures: frozenset[str]) -> str:
    test, baselines, groups = metrics["test"], metrics["baselines"], metrics["groups"]
    main = metrics["primary"]["metric"].removeprefix("test.")
    others = [name for name in baselines if name.endswith(f"_{main}")]
    rows = [("this model", f"{test[main]:.4g}")]
    rows += [(name.removesuffix(f"_{main}").replace("_", " "), f"{baselines[name]:.4g}") for name in others]
    parts = [
        f"On the whole test split ({test['items']:,} items). More {main} is better."
        if metrics["primary"]["better"] == "higher"
        else f"On the whole test split ({test['items']:,} items). Less {main} is better.",
        table(("", main), rows),
        _gain(metrics, main, others),
        table(("all values", ""), [(name, f"{value:.4g}") for name, value in test.items() if name not in ELSEWHERE]),
    ]
    if groups:
        found = [(name, f"{each[main]:.4g}", f"{each['low']:.4g} to {each['high']:.4g}", each["items"])
                 for name, each in groups.items()]  # fmt: skip
        parts.append(table(("group", main, "95 % interval (bootstrap)", "items"), found))
    parts += [f"![{words}]({name})" for name, words in PICTURES.items() if name in pictures]
    return "\n\n".join(parts)


def _gain(metrics: Mapping[str, Any], main: str, others: list[str]) -> str:
    """Whether it is better than the best of the other models, and how sure that is."""
    test, baselines, higher = metrics["test"], metrics["baselines"], metrics["primary"]["better"] == "higher"
    best = (max if higher else min)(
        [name for name in others if "floor" not in name] or others, key=baselines.__getitem__
    )
    gain, low, high = (test[name] for name in GAIN)
    than, chance = (
        best.removesuffix(f"_{main}").replace("_", " "),
        "" if low > 0 or high < 0 else ", which may be chance",
    )
    return (
        f"Its {main} is {'better' if gain > 0 else 'worse'} than that of {than} by {abs(gain):.4g}. The 95 % interval "
        f"of the gain, by a paired bootstrap over the same test rows, is {low:.4g} to {high:.4g}{chance}."
    )


def _inputs(signature: Signature) -> str:
    output = signature.outputs[0]
    lines = [f"`{each.name}`: {' '.join((type(each).__doc__ or '').split())}" for each in signature.inputs]
    if isinstance(output, LabelsOutput):
        shown = ", ".join(f"`{label}`" for label in output.labels[:30])
        lines.append(f"Labels, in this order: {shown}{', …' if len(output.labels) > 30 else ''}.")
        if output.threshold is not None:
            lines.append(f"From a score of {output.threshold:.4g} on, chosen on the validation split, the answer is "
                         f"`{output.labels[1]}`.")  # fmt: skip
    return "## Inputs and outputs\n\n" + "\n".join(f"- {line}" for line in lines)


def _limits(
    recipe: "Recipe", signature: Signature, metrics: Mapping[str, Any], parity: Mapping[str, Any]
) -> Iterator[str]:
    yield "It knows what its data show, no more: other cameras, writers, years or places may differ."
    if isinstance(signature.outputs[0], LabelsOutput):
        yield "It gives one of its labels to any input, also to one that is none of them."
    main, groups = metrics["primary"]["metric"].removeprefix("test."), metrics["groups"]
    if groups:
        best = min if metrics["primary"]["better"] == "higher" else max
        worst = best(groups, key=lambda name: groups[name][main])
        yield f"It is weakest on {worst}: {main} {groups[worst][main]:.4g}."
    if why := parity.get("int8", {}).get("left_out"):
        yield f"It has no int8 form: {why}."
    elif "int8" in parity:
        yield f"The int8 form was judged on {parity['int8']['items']:,} items of the test split, not on all."
    yield "Its architecture is Metroline's own; other libraries run the exported graphs."
