"""Kubernetes manifests: valid by the published schemas, and saying of the endpoint what is true of it."""

import copy
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from base.errors import MetrolineError
from pipelines.paths import Paths
from pipelines.release.kubernetes import DRAIN, LEAVING, PORT, Sizes, main, manifests, written
from pipelines.release.stage import release
from pipelines.release.store import Store
from serving.app.route_table import PROBES
from serving.http.settings import Settings
from serving.monitoring.promql import load_dashboard, panels, targets
from tests.conftest import missing
from tests.pipelines import small_line

IMAGE = "registry.example/team/mini:1"
MADE = {each["kind"]: each for each in manifests("mini", IMAGE, Sizes(), "c0ffee")}
QUERIES = [target.expr for panel in panels(load_dashboard("serving")) for target in targets(panel)]
PUBLISHED = ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]


def validate(manifest: dict[str, Any]) -> None:
    if find_spec("kubernetes_validate") is None:
        missing("needs kubernetes-validate: pip install -e '.[dev]'")
    import kubernetes_validate

    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_kubernetes_own_objects_are_valid(kind: str) -> None:
    validate(MADE[kind])
    wrong = copy.deepcopy(MADE[kind])
    wrong["spec"]["selektor"] = {}
    with pytest.raises(Exception, match="selektor"):
        validate(wrong)


def test_the_service_monitor() -> None:
    """A custom resource: no package that tests may need carries its schema, so its parts are looked at."""
    assert set(MADE) == {*PUBLISHED, "ServiceMonitor"}
    monitor = MADE["ServiceMonitor"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(monitor["spec"]) == {"selector", "endpoints", "podTargetLabels"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == MADE["Service"]["spec"]["ports"][0]["name"]
    assert endpoint["path"] in PROBES


@pytest.mark.parametrize("version", ["123456e78901", "012345678989", "123456789012", "c0ffee123456"])
def test_a_version_that_looks_like_a_number_is_written_as_a_text(version: str) -> None:
    """Go's YAML, which kubectl reads, takes 123456e78901 for a float, and a label has to be a text."""
    text = written(manifests("mini", IMAGE, Sizes(), version))
    assert next(yaml.safe_load_all(text)) == manifests("mini", IMAGE, Sizes(), version)[0]
    (line,) = re.findall(r"app.kubernetes.io/version: (.*)", text)
    assert line == (version if version[0] == "c" else f"'{version}'")


def test_they_belong_together() -> None:
    pod = MADE["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    assert MADE["Service"]["spec"]["selector"].items() <= labels
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert MADE[kind]["spec"]["selector"]["matchLabels"].items() <= labels
    assert MADE["ServiceMonitor"]["spec"]["selector"]["matchLabels"] == MADE["Service"]["metadata"]["labels"]
    assert MADE["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == MADE["Deployment"]["metadata"]["name"]
    assert "replicas" not in MADE["Deployment"]["spec"], "the autoscaler's to say"


def test_what_they_say_of_the_endpoint_is_true() -> None:
    pod = MADE["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in PROBES
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert Settings.from_environment(variables).drain == DRAIN
    assert pod["terminationGracePeriodSeconds"] > LEAVING + DRAIN
    assert container["ports"][0]["containerPort"] == PORT
    assert variables["METROLINE_KEYS"].startswith(container["volumeMounts"][0]["mountPath"])
    metric = MADE["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert metric in {each for expr in QUERIES for each in re.findall(r"metroline_\w+", expr)}, "the dashboard has it"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "1st"}, "'1st' cannot be the name of a Service"),
        ({"name": "a" * 60}, "cannot be the name of a Service"),
        ({"image": ""}, "'' is no image"),
        ({"image": "an image"}, "'an image' is no image"),
        ({"image": "x\nkind: Pod"}, "is no image"),
        ({"sizes": Sizes(replicas=0)}, "--replicas must be from 1 to --most"),
        ({"sizes": Sizes(replicas=9)}, "--replicas must be from 1 to --most"),
        ({"sizes": Sizes(queue=0)}, "--queue above 0"),
        ({"sizes": Sizes(memory="lots")}, "'lots' is no quantity"),
        ({"sizes": Sizes(cpu="0")}, "'0' is no quantity"),
    ],
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    values = {"name": "mini", "image": IMAGE, "sizes": Sizes(), "version": "c0ffee", **changes}
    with pytest.raises(MetrolineError, match=message):
        manifests(**values)


def test_the_command(
    exported: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    with pytest.raises(MetrolineError, match="nothing of mini is released"):
        main(["mini", "--image", IMAGE])
    release(small_line.recipe(), small_line.copy(exported, tmp_path / "line"))
    assert main(["mini", "--image", IMAGE, "--memory", "512Mi"]) == 0
    found = {each["kind"]: each for each in yaml.safe_load_all(capsys.readouterr().out)}
    assert list(found) == list(MADE)
    pod = found["Deployment"]["spec"]["template"]
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"memory": "512Mi"}
    live = Store.of(tmp_path).pointers("mini").live
    assert live == f"mini:{pod['metadata']['labels']['app.kubernetes.io/version']}"
