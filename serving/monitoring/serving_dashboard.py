"""The Grafana dashboard of the endpoint: is it well, is it quick, is it full, is the model still the right one.

Lines and colours are at the numbers where alerts.yml fires. dashboards.py writes the JSON.
"""

from serving.monitoring.panels import BAD, CALM, GOOD, WARN, Panel, heat, lines, number
from serving.monitoring.promql import limit

TITLE = "Metroline: serving"
ABOUT = "The endpoint: traffic, latency, load, and whether its model still fits its prompts."
M = 'model=~"$model", version=~"$version"'
RATE = "$__rate_interval"
STATUS_COLOURS = {"2.*": GOOD, "4.*": "yellow", "429": WARN, "5.*": BAD}
TOKENS_PER_SECOND = "suffix: tok/s"


def quantiles(metric: str) -> dict[str, str]:
    """Median, p90 and p99 of a histogram over the panel's interval."""
    return {
        name: f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{{M}}}[{RATE}])))"
        for name, q in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))
    }


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """Events a second, summed over instances, perhaps kept apart `by` a label."""
    selector = ", ".join(filter(None, (M, labels)))
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{selector}}}[{RATE}]))"


def share(labels: str) -> str:
    """Share of requests with such labels; 0 (not missing) when there was none of them."""
    everything = rate("metroline_requests_total")
    return f"({rate('metroline_requests_total', labels=labels)} or {everything} * 0) / {everything}"


def total(gauge: str) -> str:
    """A gauge, summed over instances."""
    return f"sum({gauge}{{{M}}})"


def rows() -> dict[str, list[Panel]]:
    """Title of a row → its panels, in reading order."""
    return {"Now": now(), "Traffic": traffic(), "Latency": latency(), "Load": load(), "Engine": engine(),
            "Model": model()}  # fmt: skip


def now() -> list[Panel]:
    """The state at a glance."""
    first_token, drift = limit("MetrolineSlowFirstToken"), limit("MetrolineDrift")
    return [
        number(
            "Endpoint",
            "Whether Prometheus reaches the endpoint.",
            'min(up{job="metroline"})',
            words={"0": ("DOWN", BAD), "1": ("UP", GOOD)},
        ),
        number("Requests", "Requests a second.", rate("metroline_requests_total"), unit="reqps"),
        number(
            "Server errors",
            "Share of answers with a 5xx status.",
            share('status=~"5.."'),
            unit="percentunit",
            decimals=1,
            steps={None: GOOD, limit("MetrolineErrors"): BAD},
        ),
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
        number(
            "Model's age",
            "Time since the model that answers was loaded.",
            f"time() - min(metroline_model_loaded_timestamp_seconds{{{M}}})",
            unit="s",
            steps={None: CALM, limit("MetrolineModelStale"): WARN},
        ),
    ]


def traffic() -> list[Panel]:
    """What is asked, and how it is answered."""
    return [
        lines(
            "Requests by status",
            "Requests a second by HTTP status.",
            {"{{status}}": rate("metroline_requests_total", by="status")},
            unit="reqps",
            stacked=True,
            colours=STATUS_COLOURS,
        ),
        lines(
            "Requests by route",
            "Requests a second by route; unknown paths are counted together.",
            {"{{route}}": rate("metroline_requests_total", by="route")},
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Share of requests that fail",
            "5xx: the server's fault. 4xx: the request's. 429: turned away. Clients that left (499) are not counted.",
            {
                "5xx": share('status=~"5.."'),
                "4xx": share('status=~"4..", status!~"429|499"'),
                "429": share('status="429"'),
            },
            unit="percentunit",
            steps={None: GOOD, limit("MetrolineErrors"): BAD, limit("MetrolineRejecting"): WARN},
            colours=STATUS_COLOURS,
        ),
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
        lines(
            "Whole request",
            "From the request's arrival to the last byte of its answer.",
            quantiles("metroline_request_seconds"),
            unit="s",
            steps={None: GOOD, limit("MetrolineSlowRequests"): WARN},
        ),
        heat(
            "First tokens by time",
            "How many requests had their first token within which time.",
            f"sum by (le) (increase({first}_bucket{{{M}}}[{RATE}]))",
        ),
        lines(
            "Time in the queue",
            "From the request's arrival until its turn.",
            quantiles("metroline_queue_seconds"),
            unit="s",
            width=12,
            steps={None: GOOD, limit("MetrolineQueueSlow"): WARN},
        ),
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
        lines(
            "Turned away or given up",
            "Requests refused, by reason; and streams whose client went away.",
            {
                "{{reason}}": rate("metroline_rejected_total", by="reason"),
                "cancelled": rate("metroline_cancelled_total"),
            },
            unit="reqps",
        ),
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
        number(
            "Served",
            "Model, version and precision that answer.",
            f"metroline_model_info{{{M}}}",
            legend="{{model}} {{version}} {{precision}}",
            width=8,
        ).height(8),
    ]
