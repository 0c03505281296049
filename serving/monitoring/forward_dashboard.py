"""The Grafana dashboard of models that answer in one call: where the time goes, what they say, and whether their inputs
and answers still look like the test split.

It knows the engine's metrics and no task: labels, numbers and features are those of each model's own signature.
"""

from serving.monitoring.candidate_panels import candidate
from serving.monitoring.endpoint_panels import (
    RATE,
    M,
    age,
    quantiles,
    queue_time,
    rate,
    served,
    total,
    traffic,
    turned_away,
    well,
    whole_request,
)
from serving.monitoring.panels import BAD, GOOD, WARN, Panel, heat, lines, number
from serving.monitoring.promql import limit

TITLE = "Metroline: answers in one call"
ABOUT = "Models that answer in one call: traffic, where the time goes, what they say, and drift of inputs and answers."
MODELS = "metroline_compute_seconds_count"
"""A metric that only these models have."""
DRIFT = f"metroline_drift_psi{{{M}}}"
ITEMS = rate("metroline_batch_size_sum")


def rows() -> dict[str, list[Panel]]:
    """Title of a row → its panels, in reading order."""
    return {"Now": now(), "Traffic": traffic(), "Time": time(), "Load": load(), "Answers": answers(), "Drift": drift(),
            "Candidate": candidate()}  # fmt: skip


def now() -> list[Panel]:
    """The state at a glance."""
    bound = limit("MetrolineFeatureDrift")
    return [
        *well(),
        number("Items", "Items answered a second; a request may have several.", ITEMS, unit="suffix: items/s"),
        number(
            "Forward pass, p99",
            "Of a hundred passes over a batch, ninety-nine take no longer.",
            quantiles("metroline_compute_seconds")["p99"],
            unit="s",
            steps={None: GOOD, limit("MetrolineSlowCompute"): WARN},
        ),
        number("Queued", "Items that wait for their turn now.", total("metroline_queued_requests")),
        number(
            "Drift",
            "Population stability index of the feature that has moved furthest from the test split.",
            f"max({DRIFT})",
            decimals=2,
            steps={None: GOOD, bound * 2 / 5: WARN, bound: BAD},
        ),
        age(),
    ]


def time() -> list[Panel]:
    """How long the parts of a request take."""
    return [
        whole_request(),
        queue_time(width=8),
        lines(
            "Time to decode an input",
            "From an item's bytes to the arrays that the graph takes: decoding, resizing, tokenizing.",
            quantiles("metroline_input_decode_seconds"),
            unit="s",
            steps={None: GOOD, limit("MetrolineSlowDecode"): WARN},
        ),
        lines(
            "Time of a forward pass",
            "One call of the graph over a batch.",
            quantiles("metroline_compute_seconds"),
            unit="s",
            steps={None: GOOD, limit("MetrolineSlowCompute"): WARN},
        ),
        lines(
            "Where the time goes",
            "Mean seconds of an item in each part.",
            {
                part: f"{rate(f'metroline_{name}_sum')} / {rate(f'metroline_{name}_count')}"
                for part, name in (
                    ("decode", "input_decode_seconds"),
                    ("queue", "queue_seconds"),
                    ("compute", "compute_seconds"),
                )
            },
            unit="s",
            stacked=True,
        ),
        lines(
            "Forward pass by model, p90",
            "Nine in ten passes of a model take no longer.",
            {
                "{{model}} {{version}}": "histogram_quantile(0.9, sum by (le, model, version) "
                f"(rate(metroline_compute_seconds_bucket{{{M}}}[{RATE}])))"
            },
            unit="s",
        ),
    ]


def load() -> list[Panel]:
    """How full the engine is."""
    return [
        lines(
            "Batch size",
            "Items of one forward pass.",
            {
                "mean": f"{ITEMS} / {rate('metroline_batch_size_count')}",
                "p90": quantiles("metroline_batch_size")["p90"],
            },
        ),
        lines(
            "Items",
            "Items that are decoded, wait or run; and those of them that wait.",
            {"inside": total("metroline_active_streams"), "queued": total("metroline_queued_requests")},
        ),
        turned_away(),
    ]


def answers() -> list[Panel]:
    """What the models say."""
    by_name = f"sum by (le, model, output, name) (rate(metroline_prediction_value_bucket{{{M}}}[{RATE}]))"
    labels = rate("metroline_predictions_total", by="model, output, label")
    return [
        lines(
            "Labels",
            "Share of a model's answers that have this label.",
            {
                "{{model}} {{label}}": f"{labels} / on (model, output) group_left () "
                f"{rate('metroline_predictions_total', by='model, output')}"
            },
            unit="percentunit",
            maximum=1,
        ),
        lines(
            "Numbers",
            "Median of the numbers that a model answers, to the width of the histogram's buckets.",
            {"{{model}} {{name}}": f"histogram_quantile(0.5, {by_name})"},
            zero=False,
        ),
        heat(
            "Numbers by size",
            "How many numbers fell into which bucket.",
            f"sum by (le) (increase(metroline_prediction_value_bucket{{{M}}}[{RATE}]))",
            unit="short",
            width=8,
        ),
    ]


def drift() -> list[Panel]:
    """Whether inputs and answers look like those of the test split."""
    steps = {None: GOOD, limit("MetrolineFeatureDrift"): BAD}
    return [
        *(
            lines(
                f"Drift of {side}",
                f"Population stability index of the last 1,000 {side} against the test split; watch it over 0.1.",
                {"{{model}} {{feature}}": f'max by (model, feature) (metroline_drift_psi{{{M}, side="{side}"}})'},
                steps=steps,
            )
            for side in ("inputs", "outputs")
        ),
        served(),
    ]
