"""The few kinds of Grafana panel that the dashboards are made of, each as one call with sensible looks.

It knows Grafana, not Metroline: which metrics are shown is said in serving_dashboard.py and training_dashboard.py.
Sizes are in Grafana's grid, 24 columns wide; a row of height 1 is 30 pixels plus a gap of 8.
"""

from collections.abc import Mapping

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as query_models

Steps = Mapping[float | None, str]
"""Colour from each value upward; None is the colour below the first value."""

Panel = Builder[models.Panel]

SOURCE = models.DataSourceRef(type_val="prometheus", uid="$datasource")
GOOD, WARN, BAD, CALM = "green", "orange", "red", "blue"


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Absolute thresholds from `{None: colour, value: colour, ...}`."""
    listed = [models.Threshold(value=value, color=colour) for value, colour in steps.items()]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(listed)


def query(expr: str, legend: str = "", ref: str = "A") -> prometheus.Dataquery:
    """One PromQL range query; `legend` may use labels, as in `{{status}}`."""
    return prometheus.Dataquery().datasource(SOURCE).expr(expr).legend_format(legend or "__auto").ref_id(ref).range()


def number(
    title: str,
    about: str,
    expr: str,
    *,
    unit: str = "short",
    steps: Steps | None = None,
    decimals: int | None = None,
    legend: str = "",
    width: int = 3,
    words: Mapping[str, tuple[str, str]] | None = None,
) -> stat.Panel:
    """The latest value in large type over a small history.

    With a `legend` the legend is the text (for info metrics, whose labels say it all and whose value is always 1).
    `words` names values, as in {"0": ("DOWN", "red")}.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(query(expr, legend))
        .unit(unit)
        .no_value("–")
        .span(width)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(common_models.BigValueColorMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.NONE if legend or words else common_models.BigValueGraphMode.AREA)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(thresholds(steps or {None: CALM}))
    )
    if legend:
        panel.text_mode(common_models.BigValueTextMode.NAME)
    if decimals is not None:
        panel.decimals(decimals)
    if words:
        options = {
            value: models.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(words.items())
        }
        panel.mappings([models.ValueMap(options=options)])
    return panel


def lines(
    title: str,
    about: str,
    targets: Mapping[str, str],
    *,
    unit: str = "short",
    width: int = 8,
    steps: Steps | None = None,
    stacked: bool = False,
    zero: bool = True,
    maximum: float | None = None,
    colours: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Curves over time from `{legend: PromQL}`.

    `steps` draws dashed lines where an alert would fire; `zero` starts the axis at zero; `colours` fixes those of
    curves whose whole name matches a regular expression (of several, the last).
    """
    legend = (
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.TABLE)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "mean", "max"])
    )
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(8)
        .legend(legend)
        .tooltip(tooltip.sort(common_models.SortOrder.DESCENDING))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
        .draw_style(common_models.GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(40 if stacked else 8)
        .gradient_mode(common_models.GraphGradientMode.OPACITY)
        .show_points(common_models.VisibilityMode.NEVER)
        .span_nulls(False)
    )
    for index, (name, expr) in enumerate(targets.items()):
        panel.with_target(query(expr, name, ref=chr(ord("A") + index)))
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if zero:
        panel.min(0)
    if maximum is not None:
        panel.max(maximum)
    for pattern, colour in (colours or {}).items():
        fixed = models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        panel.override_by_regexp(f"/^{pattern}$/", [fixed])
    if steps:
        panel.thresholds(thresholds(steps))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED))
    return panel


def heat(title: str, about: str, histogram: str, *, unit: str = "s", width: int = 12) -> heatmap.Panel:
    """A Prometheus histogram over time: how many observations fell into each bucket. `histogram` has a label `le`."""
    target = query(histogram, "{{le}}").format(query_models.PromQueryFormat.HEATMAP)
    colour = heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return (
        heatmap.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(target)
        .span(width)
        .height(8)
        .calculate(False)
        .color(colour)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .cell_gap(1)
        .show_legend()
    )
