"""The Grafana dashboard of indexes: how good the best passages are, what finds nothing, how long a search takes, and
how old the documents are.

It knows the engine's metrics and no index: how it is searched is a label.
"""

from serving.monitoring.endpoint_panels import (
    RATE,
    M,
    quantiles,
    rate,
    served,
    traffic,
    turned_away,
    well,
    whole_request,
)
from serving.monitoring.panels import BAD, CALM, GOOD, WARN, Panel, heat, lines, number

TITLE = "Metroline: retrieval"
ABOUT = "Indexes of documents: scores of what is found, searches that find nothing, their time, and the index's age."
MODELS = "metroline_index_chunks"
"""A metric that only indexes have."""
SEARCHES = rate("metroline_search_seconds_count")
DAY = 86400
MODES = "hybrid|vector|reranked"
"""Ways of searching whose scores are between 0 and 1, or nearly; BM25 has no bound."""


def rows() -> dict[str, list[Panel]]:
    """Title of a row → its panels, in reading order."""
    return {"Now": now(), "Traffic": traffic(), "Search": search(), "What is found": found(), "Load": load()}


def now() -> list[Panel]:
    """The state at a glance."""
    return [
        *well(),
        number("Searches", "Searches a second, those of chats among them.", SEARCHES, unit="suffix: /s"),
        number(
            "Search, p99",
            "Of a hundred searches ninety-nine take no longer: table and reranker, without embedding the query.",
            quantiles("metroline_search_seconds")["p99"],
            unit="s",
            steps={None: GOOD, 0.5: WARN, 2: BAD},
        ),
        number(
            "Best passage's score",
            "Mean score of the first passage: the reranker's, or by meaning, alone or with words.",
            _mean_score(),
            decimals=2,
        ),
        number(
            "Index's age",
            "Time since the oldest index that answers was built.",
            f"time() - min(metroline_index_built_timestamp_seconds{{{M}}})",
            unit="s",
            steps={None: CALM, 30 * DAY: WARN},
        ),
        number("Chunks", "Chunks that are searched.", f"max(metroline_index_chunks{{{M}}})", decimals=0),
    ]


def search() -> list[Panel]:
    """How long a search takes."""
    return [
        whole_request(),
        lines(
            "Time of a search",
            "Of the table and the reranker; the query was embedded before.",
            quantiles("metroline_search_seconds"),
            unit="s",
            steps={None: GOOD, 0.5: WARN, 2: BAD},
        ),
        lines(
            "Time of a search by mode, p90",
            "Nine in ten searches take no longer.",
            {
                "{{mode}}": "histogram_quantile(0.9, sum by (le, mode) "
                f"(rate(metroline_search_seconds_bucket{{{M}}}[{RATE}])))"
            },
            unit="s",
        ),
    ]


def found() -> list[Panel]:
    """How good what is found is."""
    empty, irrelevant = rate("metroline_search_empty_total"), rate("metroline_irrelevant_total")
    return [
        lines(
            "Best passage's score by index",
            "Mean of the first passage's score. One that falls: people ask of what the documents do not say.",
            {"{{model}}": _mean_score(by="model")},
        ),
        heat(
            "Best passage's score",
            "How many searches fell into which bucket.",
            f'sum by (le) (increase(metroline_search_score_bucket{{{M}, mode=~"{MODES}"}}[{RATE}]))',
            unit="short",
            width=8,
        ),
        lines(
            "Nothing found, nothing relevant",
            "Shares of searches: without any passage, and by chats that were told that the sources say nothing.",
            {"nothing found": f"{empty} / {SEARCHES}", "nothing relevant": f"{irrelevant} / {SEARCHES}"},
            unit="percentunit",
        ),
    ]


def load() -> list[Panel]:
    """How full it is, and what is searched."""
    return [
        lines(
            "Searches by mode",
            "Searches a second.",
            {"{{mode}}": rate("metroline_search_seconds_count", by="mode")},
            unit="suffix: /s",
            stacked=True,
        ),
        turned_away(),
        served(),
    ]


def _mean_score(by: str = "") -> str:
    parts = (rate(f"metroline_search_score_{part}", by, f'mode=~"{MODES}"') for part in ("sum", "count"))
    return " / ".join(parts)
