"""The queries of a dashboard and of the alert rules, ready to be asked of a Prometheus.

Used by the picture (render.py), by the dashboards (for the alerts' numbers) and by the tests that put every query
to a real Prometheus. It does not parse PromQL: it relies on the form that alerts.yml promises.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from base.errors import MetrolineError
from base.files import read_json

FOLDER = Path(__file__).parent
ALERTS = FOLDER / "alerts.yml"
DASHBOARDS = FOLDER / "grafana/dashboards"
COMPARISON = re.compile(r"(?P<left>.+?)\s*(?P<operator>==|!=|<=|>=|<|>)\s*(?P<number>[-+0-9.e]+)", re.DOTALL)
ABSENT = re.compile(r"absent\((?P<metric>.+)\)")

Point = tuple[float, float]
"""Unix time in seconds, value."""


@dataclass(frozen=True)
class Target:
    """One query of a panel, and the legend's template (`{{label}}` stands for a label's value)."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Series:
    """One curve: its labels and its points in order of time."""

    labels: dict[str, str]
    points: list[Point]

    def name(self, legend: str) -> str:
        """The legend's text for this curve."""
        return re.sub(r"{{\s*(\w+)\s*}}", lambda match: self.labels.get(match[1], ""), legend)


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels of a dashboard's JSON except row titles, those in folded rows too."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def targets(panel: dict[str, Any]) -> list[Target]:
    """The queries of one panel of a dashboard's JSON."""
    return [Target(target["expr"], target.get("legendFormat", "")) for target in panel.get("targets", [])]


def substitute(expr: str, *, interval: str, span: str) -> str:
    """Fill in Grafana's variables: `$__rate_interval`, `$__interval`, `$__range`; a dashboard's own ones match all."""
    values = {"$__rate_interval": interval, "$__interval": interval, "$__range": span}
    for name, value in values.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".*", expr)


def load_dashboard(name: str) -> dict[str, Any]:
    """The committed JSON of the dashboard `name`. Raises MetrolineError when there is no such dashboard."""
    path = DASHBOARDS / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in DASHBOARDS.glob("*.json")))
        raise MetrolineError(f"no dashboard {name!r}", hint=f"there are: {known}")
    return read_json(path)


def rules(path: Path = ALERTS) -> list[dict[str, Any]]:
    """All recording and alerting rules of a rules file, in order."""
    return [rule for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def comparisons(expr: str) -> list[tuple[str, str, float]]:
    """An alert's expression as (what is measured, operator, bound), one for each `and on (…)`.

    `absent(metric)` gives [("metric", "absent", 0)]. Raises ValueError for any other form.
    """
    absent = ABSENT.fullmatch(expr.strip())
    if absent:
        return [(absent["metric"], "absent", 0.0)]
    found = []
    for part in re.split(r"\n\s*and on \([\w, ]*\) ", expr.strip()):
        match = COMPARISON.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"not of the form EXPRESSION COMPARISON NUMBER: {part}")
        found.append((match["left"], match["operator"], float(match["number"])))
    return found


def limit(alert: str) -> float:
    """The number that makes an alert fire: the bound of its first comparison."""
    for rule in rules():
        if rule.get("alert") == alert:
            return comparisons(rule["expr"])[0][2]
    raise ValueError(f"no alert {alert}")


class Prometheus:
    """A client of Prometheus' HTTP API, for the few calls that are needed here."""

    def __init__(self, url: str, timeout: float = 10) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(timeout=timeout, trust_env=False)

    def query(self, expr: str) -> list[Series]:
        """The value of `expr` now: one point a series (none: no data)."""
        result = self.get("/api/v1/query", query=expr)["result"]
        return [Series(entry["metric"], [(float(entry["value"][0]), float(entry["value"][1]))]) for entry in result]

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """`expr` from `start` to `end` (Unix seconds), every `step` seconds."""
        result = self.get("/api/v1/query_range", query=expr, start=start, end=end, step=step)["result"]
        return [Series(entry["metric"], [(float(t), float(v)) for t, v in entry["values"]]) for entry in result]

    def get(self, path: str, **parameters: str | float) -> Any:
        """The `data` of an API answer. Raises MetrolineError: no Prometheus there, or it refuses the query."""
        try:
            answer = self._client.get(self.url + path, params=parameters)
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = "the answer is not JSON" if isinstance(error, ValueError) else str(error)
            raise MetrolineError(
                f"no Prometheus at {self.url}: {reason}", hint="docs/monitoring.md starts one"
            ) from None
        if body.get("status") != "success":
            raise MetrolineError(
                f"Prometheus refuses {parameters.get('query', path)}: {body.get('error', answer.status_code)}"
            )
        return body["data"]
