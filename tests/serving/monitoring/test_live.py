"""A real Prometheus scrapes the real endpoint under real traffic, and a training run's metrics through node-exporter.

Every query of every panel, every recording rule and every alert must find data. None is excused: what only errors
produce is produced (bad requests, a full queue, a missed deadline, clients that leave).
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import matplotlib.image
import pytest

from pipelines.paths import Paths
from serving.app.run import Server
from serving.monitoring.drawing import Window
from serving.monitoring.promql import Prometheus, comparisons, load_dashboard, panels, rules, substitute, targets
from serving.monitoring.render import draw, main
from serving.monitoring.traffic import Traffic
from tests.serving import chat_bundle, forward_bundles, tiny_bundle
from tests.serving.monitoring.monitoring_tools import wait_for

pytestmark = pytest.mark.prometheus

QUERIES = [
    pytest.param(target.expr, id=f"{name}: {panel['title']}: {target.legend}")
    for name in ("serving", "forward", "retrieval", "training")
    for panel in panels(load_dashboard(name))
    for target in targets(panel)
]
RECIPE = "tiny"
SECONDS = 12
"""Of traffic, so that rates over ten seconds see all of it."""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server], library: Paths) -> Server:
    """The service with a small random model, a chat model, two that answer in one call, and an index. Queues and
    deadline are so short that some fail."""
    folder = tmp_path_factory.mktemp("watched")
    bundle = tiny_bundle.build(folder / "bundle", name=RECIPE, delay_nodes=48)
    return serve(
        bundle, chat_bundle.build(folder / "talker"), forward_bundles.table(folder / "flower"),
        forward_bundles.table(folder / "price", "price", forward_bundles.PRICE), library.bundle,
        queue="2", deadline="1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def watched(endpoint: Server, training: Path, monitored) -> tuple[Prometheus, Traffic]:
    """Prometheus after some seconds of traffic."""
    prometheus = monitored(endpoint.url, training)
    wait_for(lambda: len(prometheus.query("up == 1")) == 3, "all three targets up")
    with Traffic(endpoint.url) as traffic:
        wait_for(lambda: prometheus.query('sum(metroline_requests_total{status="504"}) > 0'), "a missed deadline")
        wait_for(lambda: prometheus.query('sum(metroline_requests_total{status="429"}) > 0'), "a full queue")
        wait_for(lambda: prometheus.query("count by (side) (metroline_drift_psi)"), "enough items to judge drift")
        time.sleep(SECONDS)
    return prometheus, traffic


def finite(prometheus: Prometheus, expr: str) -> list[float]:
    """All finite values of `expr` while there was traffic."""
    now = time.time()
    found = prometheus.query_range(expr, now - 60, now, 1)
    return [value for series in found for _, value in series.points if math.isfinite(value)]


@pytest.mark.parametrize("expr", QUERIES)
def test_every_panel_has_data(watched, expr):
    prometheus, _ = watched
    assert finite(prometheus, substitute(expr, interval="10s", span="1m"))


def test_no_data_would_be_noticed(watched):
    prometheus, _ = watched
    assert not finite(prometheus, "metroline_no_such_metric")
    assert not finite(prometheus, "0 / vector(0)")


def test_the_endpoint_names_its_format(endpoint):
    """Prometheus 3, which compose.yaml runs, refuses a scrape without it; Debian's Prometheus 2 does not mind."""
    answer = httpx.get(f"{endpoint.url}/metrics", trust_env=False)
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_every_rule_is_loaded_and_evaluates(watched):
    prometheus, _ = watched
    loaded = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert len(loaded) == len(rules())
    assert {rule["name"]: rule.get("lastError") for rule in loaded if rule["health"] != "ok"} == {}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_has_data(watched, rule):
    prometheus, _ = watched
    if "record" in rule:
        assert finite(prometheus, rule["record"])
    else:
        for measured, _, _ in comparisons(rule["expr"]):
            assert finite(prometheus, measured), measured


def test_each_model_has_its_own_curve(watched):
    prometheus, _ = watched
    (target,) = [
        target
        for panel in panels(load_dashboard("serving"))
        for target in targets(panel)
        if panel["title"] == "Tokens by model"
    ]
    found = prometheus.query(substitute(target.expr, interval="30s", span="1m"))
    assert {series.labels["model"] for series in found} == {RECIPE, "talker"}
    assert all(series.points[0][1] > 0 for series in found)


def test_a_run_that_diverged_is_an_alert(watched):
    prometheus, _ = watched
    firing = prometheus.query('ALERTS{alertname="MetrolineTrainingNotFinite", alertstate="firing"}')
    assert [series.labels["recipe"] for series in firing] == ["diverging"]


def test_the_counts_are_those_of_the_clients(watched):
    prometheus, traffic = watched
    wait_for(lambda: not any(finite_now(prometheus, "metroline_active_streams")), "no stream left")
    time.sleep(2)
    counted = {series.labels["status"]: series.points[0][1]
               for series in prometheus.query("sum by (status) (metroline_requests_total)")}  # fmt: skip
    assert {status: counted[status] for status in ("400", "404", "504")} == {
        status: traffic.sent[status] for status in ("400", "404", "504")
    }
    cancelled = prometheus.query("sum(metroline_cancelled_total)")[0].points[0][1]
    assert 0 < cancelled <= traffic.cancelled
    assert max(finite_now(prometheus, "metroline_drift_score")) > 0


def finite_now(prometheus: Prometheus, expr: str) -> list[float]:
    return [series.points[0][1] for series in prometheus.query(expr)]


@pytest.mark.parametrize("name", ["serving", "forward", "retrieval", "training"])
def test_a_picture_of_every_panel(watched, name, tmp_path, capsys):
    prometheus, _ = watched
    now = time.time()
    figure = draw(load_dashboard(name), prometheus, Window(now - 60, now, 1.0))
    shown = [text.get_text() for text in figure.texts]
    assert "no data" not in shown
    assert len(figure.axes) == len(list(panels(load_dashboard(name))))
    picture = tmp_path / "picture.png"
    assert main(["--prometheus", prometheus.url, "--dashboard", name, "--window", "1m", "--out", str(picture)]) == 0
    height, width, _ = matplotlib.image.imread(picture).shape
    assert width > 1000
    assert height > 800


def test_an_endpoint_that_goes_down_is_noticed(watched, endpoint):
    """Last in this module: it ends the endpoint."""
    prometheus, _ = watched
    endpoint.stop()

    def pending() -> bool:
        alerts = prometheus.get("/api/v1/alerts")["alerts"]
        return any(alert["labels"]["alertname"] == "MetrolineDown" and alert["state"] == "pending" for alert in alerts)

    wait_for(pending, "MetrolineDown pending")
