"""The alert rules and the scrape configuration, judged by promtool; and what the documents promise about them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from serving.monitoring.promql import ALERTS, FOLDER, comparisons, limit, rules
from tests.serving.monitoring.monitoring_tools import program

pytestmark = pytest.mark.prometheus
NAMES = [rule["alert"] for rule in rules() if "alert" in rule]
DOCUMENT = Path(__file__).parents[3] / "docs/monitoring.md"


def run(promtool: str, *arguments: str) -> str:
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_accepts_the_configuration(promtool):
    assert "SUCCESS" in run(promtool, "check", "config", "prometheus.yml")


def test_promtool_accepts_the_rules(promtool):
    assert f"{len(rules())} rules found" in run(promtool, "check", "rules", "alerts.yml")


def test_alerts_fire_and_do_not_fire_as_they_should(promtool):
    assert "SUCCESS" in run(promtool, "test", "rules", "alerts_test.yml")


def test_every_alert_is_shown_firing_and_not_firing():
    shown: dict[str, set[bool]] = {name: set() for name in NAMES}
    for test in yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]:
        for case in test.get("alert_rule_test", []):
            shown[case["alertname"]].add(bool(case["exp_alerts"]))
    assert {name: seen for name, seen in shown.items() if seen != {True, False}} == {}


@pytest.mark.parametrize("instead", ["vector(1) > 2", "vector(1) > 0"], ids=["never", "always"])
def test_an_alert_that_never_or_always_fires_is_noticed(promtool, tmp_path, instead):
    """What the unit tests are worth: with such alerts in place of ours, each one's cases must fail."""
    document = yaml.safe_load(ALERTS.read_text())
    for rule in [rule for group in document["groups"] for rule in group["rules"] if "alert" in rule]:
        rule["expr"] = instead
        rule.pop("for", None)
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(document))
    (tmp_path / "alerts_test.yml").write_text((FOLDER / "alerts_test.yml").read_text())
    done = subprocess.run([promtool, "test", "rules", "alerts_test.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    wanted = "exp:[]" if instead.endswith("0") else "got:[]"
    failures = re.findall(r"alertname: (\w+), time: .*?\n(.*?got:\[.*?\])", done.stdout + done.stderr, re.DOTALL)
    assert {name for name, text in failures if wanted in "".join(text.split())} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_explained_where_it_says(name):
    rule = next(rule for rule in rules() if rule.get("alert") == name)
    assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{name.lower()}"
    assert re.search(rf"^### {name}$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_document_explains_no_alert_that_is_gone():
    explained = re.findall(r"^### (Metroline\w+)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(explained) == sorted(NAMES)


def test_comparisons_take_an_alert_apart():
    assert comparisons("rate(x[5m]) > 0.5") == [("rate(x[5m])", ">", 0.5)]
    assert comparisons("absent(x)") == [("x", "absent", 0.0)]
    assert comparisons('a == 0\nand on (m) b{c="d"} == 1') == [("a", "==", 0.0), ('b{c="d"}', "==", 1.0)]
    with pytest.raises(ValueError, match="not of the form"):
        comparisons("a > b")


def test_limits_are_those_of_the_rules():
    assert limit("MetrolineErrors") == 0.05
    with pytest.raises(ValueError, match="no alert"):
        limit("MetrolineNothing")


def test_a_missing_program_is_skipped_but_fails_on_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-program"):
        program("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install prometheus"):
        program("no-such-program", "nor-this")
