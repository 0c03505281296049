"""What the model card says of a forecaster."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.markdown import table
from data.signature import FILE, SeriesInput, SeriesOutput, Signature
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

PICTURES = {"backtest.png": "Forecasts of the test split and what came", "errors.png": "Error by steps ahead"}
VALUES = ("mse", "mae", "quantile_loss")
NAIVE = {"repeat_last": "the last value again", "seasonal_naive": "the last season again"}


def card(recipe: "Recipe", folder: Path, metrics: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files."""
    signature = Signature.load(folder / FILE)
    history, forecast = signature.inputs[0], signature.outputs[0]
    assert isinstance(history, SeriesInput)
    assert isinstance(forecast, SeriesOutput)
    pictures = frozenset(path.name for path in folder.glob("*.png"))
    horizon = forecast.shape[0]
    return Card(
        library="metroline",
        architecture=recipe.model.kind,
        data=f"Split by time: the newest steps are test, those before them valid. A history may reach into the split "
        f"before; a target never does, so the windows that straddle a border ({horizon - 1} of them) are in no split. "
        "Scales are fitted on train alone and inside the exported graph.",
        counts={"windows": "windows"},
        targets="windows",
        loss="squared error plus pinball loss, standard scale",
        output="value, relative to their median size",
        parity="batches of several sizes of test windows and of random ones, and the golden items' raw JSON",
        quality=_quality(metrics, forecast, pictures),
        limits=(
            "It knows the past of its own channels, and nothing of holidays, prices or weather to come.",
            "Its quantiles are right on average over the validation split; in times unlike it they may be too narrow.",
            f"A value that is missing is taken to be the last one before it. Steps must be {history.step} apart: "
            "what is sent holds no times that could be checked.",
            "Its architecture is Metroline's own; other libraries run the exported graphs.",
        ),
        pictures=pictures,
        more=(_interface(history, forecast),),
    )


def _quality(metrics: Mapping[str, Any], forecast: SeriesOutput, pictures: frozenset[str]) -> str:
    test, baselines, groups = metrics["test"], metrics["baselines"], metrics["groups"]
    rows = [("this model", *(f"{test[name]:.4g}" for name in VALUES))]
    rows += [(said, *(f"{baselines[f'{model}_{name}']:.4g}" for name in VALUES)) for model, said in NAIVE.items()]
    first, last = forecast.quantiles[0], forecast.quantiles[-1]
    channels = [
        (name.removeprefix("channel="), *(f"{each[key]:.4g}" for key in ("mse", "mae", "rmse", "coverage")))
        for name, each in groups.items()
    ]
    parts = [
        f"On every window of the test split ({test['items']:,}), {forecast.shape[0]} steps ahead, on the standard "
        "scale of train, where all channels count alike.",
        table(("", "squared error", "absolute error", "quantile loss"), rows),
        f"Between the {100 * first:g} % and the {100 * last:g} % quantile lie {100 * test['coverage']:.1f} % of the "
        f"values ({100 * (last - first):g} % wanted).",
        table(("channel", "squared error", "absolute error", "rmse in its unit", "share inside"), channels),
    ]
    return "\n\n".join([*parts, *(f"![{words}]({name})" for name, words in PICTURES.items() if name in pictures)])


def _interface(history: SeriesInput, forecast: SeriesOutput) -> str:
    channels = ", ".join(f"`{name}`" for name in history.channels)
    return f"""## Inputs and outputs

- `{history.name}`: the last {history.context:,} steps, {history.step} apart, oldest first, each a row of
  {channels}; null: missing.
- `{forecast.name}`: for each channel the next {forecast.shape[0]:,} steps: the mean and the quantiles
  {", ".join(f"{each:g}" for each in forecast.quantiles)}, in the units of what was sent."""
