"""The committed dashboards: what the code gives, what Grafana's own schema takes, and sensible to look at."""

import json
import subprocess
import sys

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from base.errors import MetrolineError
from serving.monitoring import dashboards
from serving.monitoring.promql import DASHBOARDS, FOLDER, load_dashboard, panels, substitute, targets

BOARDS = ("serving", "forward", "retrieval", "training")


def test_committed_files_are_what_the_code_gives():
    assert dashboards.stale() == []


def test_an_edited_a_missing_and_a_left_over_file_are_noticed(tmp_path, monkeypatch):
    for path in DASHBOARDS.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert dashboards.stale(tmp_path) == []
    (tmp_path / "serving.json").write_text("{}")
    (tmp_path / "training.json").rename(tmp_path / "old.json")
    assert dashboards.stale(tmp_path) == ["old.json", "serving.json", "training.json"]
    monkeypatch.setattr(dashboards, "DASHBOARDS", tmp_path)
    monkeypatch.setattr(dashboards, "stale", lambda: ["serving.json"])
    with pytest.raises(MetrolineError, match=r"out of date: serving\.json"):
        dashboards.main(["--check"])
    assert dashboards.main([]) == 0
    assert (tmp_path / "serving.json").read_text() == (DASHBOARDS / "serving.json").read_text()


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_schema_reads_it_without_loss(name):
    plugins.register_default_plugins()
    committed = load_dashboard(name)
    again = json.loads(json.dumps(Dashboard.from_json(committed), cls=JSONEncoder))
    for panel in again["panels"]:  # the SDK's reader adds an empty one to heat maps
        if panel.get("fieldConfig", {}).get("defaults", {}).get("custom") == {}:
            del panel["fieldConfig"]["defaults"]["custom"]
    assert again == committed


@pytest.mark.parametrize("name", BOARDS)
def test_panels_are_labelled_and_do_not_overlap(name):
    board = load_dashboard(name)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        position = panel["gridPos"]
        cells = {(position["x"] + x, position["y"] + y) for x in range(position["w"]) for y in range(position["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    titles = [panel["title"] for panel in panels(board) if panel["type"] != "row"]
    for panel in panels(board):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["type"] == "heatmap" or panel["fieldConfig"]["defaults"]["unit"]
        assert targets(panel)
        assert all(target.legend != "" for target in targets(panel))
    pairs = [(panel["title"], panel["type"]) for panel in panels(board)]
    assert len(set(pairs)) == len(titles), "two panels of a kind with the same title"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_takes_the_chosen_data_source_and_has_no_fixed_window(name):
    for panel in panels(load_dashboard(name)):
        assert panel["datasource"]["uid"] == "$datasource"
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "$datasource"
            assert "rate(" not in target["expr"] or "[$__rate_interval]" in target["expr"]


def test_all_models_are_those_of_the_engine():
    """A decoder's batches and queue are no part of the picture of models that answer in one call."""
    for name, everything in (("serving", ".*"), ("retrieval", None), ("forward", None)):
        variables = [each for each in load_dashboard(name)["templating"]["list"] if each["type"] == "query"]
        assert [each["name"] for each in variables] == ["model", "version"]
        assert {each.get("allValue") for each in variables} == {everything}
    assert {each["query"] for each in variables} == {
        "label_values(metroline_compute_seconds_count, model)", "label_values(metroline_compute_seconds_count, version)"
    }  # fmt: skip


def test_provisioning_finds_what_it_names():
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    grafana = compose["services"]["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"] if volume.startswith("."))
    for source in mounted:
        assert (FOLDER / source).is_dir()
    provider = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/metroline.yaml").read_text())["providers"][0]
    assert provider["options"]["path"] == "${METROLINE_DASHBOARDS}"
    assert grafana["environment"]["METROLINE_DASHBOARDS"] in mounted.values()
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    listens = next(
        argument for argument in compose["services"]["prometheus"]["command"] if "listen-address" in argument
    )
    assert source["url"] == f"http://{listens.split('=')[1]}"
    interval = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval


def test_substitution_leaves_no_variable():
    expr = 'sum(rate(x{model=~"$model"}[$__rate_interval])) + avg_over_time(y[$__range]) + z[$__interval]'
    filled = 'sum(rate(x{model=~".*"}[20s])) + avg_over_time(y[1h]) + z[20s]'
    assert substitute(expr, interval="20s", span="1h") == filled


def test_command_line():
    command = [sys.executable, "-m", "serving.monitoring.dashboards"]
    assert subprocess.run([*command, "--check"], capture_output=True).returncode == 0
    done = subprocess.run([*command, "--chek"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "unrecognized arguments: --chek" in done.stderr
