"""The Grafana dashboard of the endpoint: is it well, is it quick, is it full, is the model still the right one.

Lines and colours are at the numbers where alerts.yml fires. dashboards.py writes the JSON.
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

TITLE = "Metroline: serving"
ABOUT = "The endpoint: traffic, latency, load, and whether its model still fits its prompts."
TOKENS_PER_SECOND = "suffix: tok/s"


def rows() -> dict[str, list[Panel]]:
    """Title of a row → its panels, in reading order."""
    return {"Now": now(), "Traffic": traffic(), "Latency": latency(), "Load": load(), "Engine": engine(),
            "Model": model(), "Candidate": candidate()}  # fmt: skip


def now() -> list[Panel]:
    """The state at a glance."""
    first_token, drift = limit("MetrolineSlowFirstToken"), limit("MetrolineDrift")
    return [
        *well(),
        number(
            "First token, p90",
            "Nine in ten requests have their first token within this time.",
            quantiles("metroline_time_to_first_token_seconds")["p90"],
            unit="s",
            steps={None: GOOD, first_token: WARN},
        ),
        number(
            "Output",
            "Tokens generated a second, over all requests.",
            rate("metroline_tokens_out_total"),
            unit=TOKENS_PER_SECOND,
        ),
        number("Queued", "Requests that wait for their turn now.", total("metroline_queued_requests")),
        number(
            "Drift",
            "How far the prompts' loss is from the reference, in standard deviations.",
            f"max(metroline_drift_score{{{M}}})",
            decimals=2,
            steps={None: GOOD, drift * 2 / 3: WARN, drift: BAD},
        ),
        age(),
    ]


def latency() -> list[Panel]:
    """How long the parts of a request take."""
    first = "metroline_time_to_first_token_seconds"
    return [
        lines(
            "Time to first token",
            "From the request's arrival to its first token, queueing included.",
            quantiles(first),
            unit="s",
            steps={None: GOOD, limit("MetrolineSlowFirstToken"): WARN},
        ),
        lines(
            "Time per token",
            "Between one token of a request and the next.",
            quantiles("metroline_time_per_token_seconds"),
            unit="s",
        ),
        whole_request(),
        heat(
            "First tokens by time",
            "How many requests had their first token within which time.",
            f"sum by (le) (increase({first}_bucket{{{M}}}[{RATE}]))",
        ),
        queue_time(),
    ]


def load() -> list[Panel]:
    """How full the endpoint is."""
    return [
        lines(
            "Tokens",
            "Tokens read and generated a second.",
            {"in": rate("metroline_tokens_in_total"), "out": rate("metroline_tokens_out_total")},
            unit=TOKENS_PER_SECOND,
        ),
        lines(
            "Streams and queue",
            "Requests being answered, and requests that wait.",
            {"active": total("metroline_active_streams"), "queued": total("metroline_queued_requests")},
        ),
        turned_away(),
    ]


def engine() -> list[Panel]:
    """How well the engine uses what it has: the batch, the cache, and what is in it already."""
    batch = "metroline_batch_size"
    mean = f"{rate(f'{batch}_sum')} / {rate(f'{batch}_count')}"
    return [
        lines(
            "Batch size",
            "Sequences that one decode step gives a token each. One step reads all weights, however many they are.",
            {"mean": mean, "p90": quantiles(batch)["p90"]},
        ),
        lines(
            "Sequences",
            "Sequences that run (a request may have several), of the slots there are.",
            {"running": total("metroline_running_sequences"), "slots": total("metroline_slots")},
        ),
        lines(
            "Key/value cache",
            "Share of the cache's tokens that are set aside for what runs.",
            {
                "{{model}} {{version}}": f"sum by (model, version) (metroline_kv_tokens_used{{{M}}}) / "
                f"sum by (model, version) (metroline_kv_tokens_capacity{{{M}}})"
            },
            unit="percentunit",
            maximum=1,
        ),
        lines(
            "Prompts found in the cache",
            "Share of prompts whose beginning was there already, as a shared system message is; and of their tokens.",
            {
                "prompts": f"{rate('metroline_prefix_hits_total')} / {rate('metroline_prefix_lookups_total')}",
                "tokens": f"{rate('metroline_prefix_tokens_total')} / {rate('metroline_tokens_in_total')}",
            },
            unit="percentunit",
        ),
        lines(
            "Tokens by model",
            "Tokens generated a second, by model and version.",
            {"{{model}} {{version}}": rate("metroline_tokens_out_total", by="model, version")},
            unit=TOKENS_PER_SECOND,
            stacked=True,
        ),
        lines(
            "First token by model, p90",
            "Nine in ten requests to a model have their first token within this time.",
            {
                "{{model}} {{version}}": "histogram_quantile(0.9, sum by (le, model, version) "
                f"(rate(metroline_time_to_first_token_seconds_bucket{{{M}}}[{RATE}])))"
            },
            unit="s",
            steps={None: GOOD, limit("MetrolineSlowFirstToken"): WARN},
        ),
    ]


def model() -> list[Panel]:
    """Which model answers, and whether its prompts look like what it was tested on."""
    mean = f"{rate('metroline_prompt_loss_sum')} / {rate('metroline_prompt_loss_count')}"
    return [
        lines(
            "Drift",
            "|rolling mean of the prompts' loss − reference mean| / reference standard deviation.",
            {"{{model}} {{version}}": f"max by (model, version) (metroline_drift_score{{{M}}})"},
            steps={None: GOOD, limit("MetrolineDrift"): BAD},
        ),
        lines(
            "Loss of prompts",
            "Mean negative log-likelihood of a prompt's tokens under the model, in nats.",
            {"mean": mean, "p90": quantiles("metroline_prompt_loss")["p90"]},
            zero=False,
        ),
        served(),
    ]
