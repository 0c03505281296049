"""What the dashboards of both engines show of an endpoint: the expressions and the panels that they share.

Lines and colours are at the numbers where alerts.yml fires.
"""

from serving.monitoring.panels import BAD, CALM, GOOD, WARN, Panel, lines, number
from serving.monitoring.promql import limit

M = 'model=~"$model", version=~"$version"'
RATE = "$__rate_interval"
STATUS_COLOURS = {"2.*": GOOD, "4.*": "yellow", "429": WARN, "5.*": BAD}


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


def well() -> list[Panel]:
    """Whether it answers, how much, and without errors."""
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
    ]


def age() -> Panel:
    """How long the model has been loaded."""
    return number(
        "Model's age",
        "Time since the model that answers was loaded.",
        f"time() - min(metroline_model_loaded_timestamp_seconds{{{M}}})",
        unit="s",
        steps={None: CALM, limit("MetrolineModelStale"): WARN},
    )


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


def whole_request() -> Panel:
    """From arrival to the last byte."""
    return lines(
        "Whole request",
        "From the request's arrival to the last byte of its answer.",
        quantiles("metroline_request_seconds"),
        unit="s",
        steps={None: GOOD, limit("MetrolineSlowRequests"): WARN},
    )


def queue_time(width: int = 12) -> Panel:
    """How long requests wait."""
    return lines(
        "Time in the queue",
        "From the request's arrival until its turn.",
        quantiles("metroline_queue_seconds"),
        unit="s",
        width=width,
        steps={None: GOOD, limit("MetrolineQueueSlow"): WARN},
    )


def turned_away() -> Panel:
    """Requests that got no answer."""
    return lines(
        "Turned away or given up",
        "Requests refused, by reason; and those whose client went away.",
        {
            "{{reason}}": rate("metroline_rejected_total", by="reason"),
            "cancelled": rate("metroline_cancelled_total"),
        },
        unit="reqps",
    )


def served() -> Panel:
    """Which models answer."""
    return number(
        "Served",
        "Model, version and precision that answer.",
        f"metroline_model_info{{{M}}}",
        legend="{{model}} {{version}} {{precision}}",
        width=8,
    ).height(8)
