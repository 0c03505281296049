"""Kubernetes manifests for the Bento of a live release, ready for `kubectl apply -f -`.

    python -m pipelines.release.kubernetes speeches --image registry.example/speeches:1 > speeches.yaml

Deployment (probes, a rolling update that takes nothing away), Service, PodDisruptionBudget, HorizontalPodAutoscaler on
the length of the queue, and a ServiceMonitor for Prometheus' operator. The autoscaler reads `metroline_queued_requests`
through the custom metrics API, which prometheus-adapter serves; a cluster without it keeps the number of replicas. Pods
take their API keys from a Secret, as an endpoint that others reach must: `kubectl create secret generic
speeches-keys --from-file=keys.json=PATH` with the file that METROLINE_KEYS names or `metroline keys` writes.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from base.errors import MetrolineError, exit_with
from pipelines.release.store import Store

PORT, DRAIN = 3000, 20
"""The Bento's port; seconds that it gives running requests (METROLINE_DRAIN)."""
LEAVING = 5
"""Seconds until no node sends a leaving pod anything: it is taken off the Service while it still listens."""
NAME = re.compile(r"[a-z]([-a-z0-9]{0,56}[a-z0-9])?", re.ASCII)
IMAGE = re.compile(r"[a-z0-9][\w.:/@-]*", re.ASCII)
QUANTITY = re.compile(r"[1-9]\d*(m|Ki|Mi|Gi)?", re.ASCII)
Manifest = dict[str, Any]
NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$", re.ASCII)
"""What kubectl reads as one: wider than PyYAML's, which leaves a version such as 123456e78901 without quotes."""


@dataclass(frozen=True)
class Sizes:
    """How many pods and how large. `queue`: requests that wait in a pod, on average, before there is another pod."""

    replicas: int = 2
    most: int = 8
    cpu: str = "1"
    memory: str = "2Gi"
    queue: int = 2


class _Quoting(yaml.SafeDumper):
    """Puts quotes around texts that kubectl would take for numbers."""


_Quoting.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, [*"-+.0123456789"])


def written(made: Sequence[Manifest]) -> str:
    """Manifests as YAML."""
    return str(yaml.dump_all(made, Dumper=_Quoting, sort_keys=False))


def manifests(name: str, image: str, sizes: Sizes, version: str) -> list[Manifest]:
    """All objects, in the order in which they are applied.

    Raises MetrolineError: a name or an image that Kubernetes does not take, sizes that make no sense.
    """
    if not NAME.fullmatch(name):
        raise MetrolineError(f"{name!r} cannot be the name of a Service", hint="it has to begin with a letter")
    if not IMAGE.fullmatch(image):
        raise MetrolineError(f"{image!r} is no image", hint="as in registry.example/speeches:1")
    if not 1 <= sizes.replicas <= sizes.most or sizes.queue < 1:
        raise MetrolineError("--replicas must be from 1 to --most, and --queue above 0")
    for quantity in (sizes.cpu, sizes.memory):
        if not QUANTITY.fullmatch(quantity):
            raise MetrolineError(f"{quantity!r} is no quantity", hint="as in 500m or 2Gi")
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "metroline"}
    target = {"matchLabels": labels}

    def made(kind: str, version: str, spec: Manifest) -> Manifest:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}

    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    pod = {"metadata": {"labels": {**labels, "app.kubernetes.io/version": version}}, "spec": _pod(name, image, sizes)}
    update = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    metric = {"type": "Pods", "pods": {"metric": {"name": "metroline_queued_requests"},
              "target": {"type": "AverageValue", "averageValue": str(sizes.queue)}}}  # fmt: skip
    return [
        made("Deployment", "apps/v1", {"selector": target, "strategy": update, "template": pod}),
        made("Service", "v1", {"selector": labels, "ports": ports}),
        made("PodDisruptionBudget", "policy/v1", {"selector": target, "maxUnavailable": 1}),
        made("HorizontalPodAutoscaler", "autoscaling/v2", {
            "scaleTargetRef": scaled, "minReplicas": sizes.replicas, "maxReplicas": sizes.most, "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        }),
        made("ServiceMonitor", "monitoring.coreos.com/v1", {
            "selector": target, "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
            "podTargetLabels": ["app.kubernetes.io/version"],
        }),
    ]  # fmt: skip


def _pod(name: str, image: str, sizes: Sizes) -> Manifest:
    """One container; its probes ask what the endpoint says of itself."""

    def probe(path: str, every: int, failures: int) -> Manifest:
        asked = {"path": path, "port": "http"}
        return {"httpGet": asked, "periodSeconds": every, "failureThreshold": failures, "timeoutSeconds": 2}

    container = {
        "name": "endpoint",
        "image": image,
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [
            {"name": "METROLINE_KEYS", "value": "/keys/keys.json"},
            {"name": "METROLINE_AUTH", "value": "on"},
            {"name": "METROLINE_DRAIN", "value": str(DRAIN)},
        ],
        "resources": {
            "requests": {"cpu": sizes.cpu, "memory": sizes.memory},
            "limits": {"memory": sizes.memory},
        },
        "startupProbe": probe("/readyz", 2, 150),  # every file is hashed, and the golden items are asked
        "readinessProbe": probe("/readyz", 2, 2),
        "livenessProbe": probe("/livez", 10, 3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVING)]}}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": True}],
    }
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
              "labelSelector": {"matchLabels": {"app.kubernetes.io/name": name}}}  # fmt: skip
    return {
        "terminationGracePeriodSeconds": LEAVING + DRAIN + 15,
        "topologySpreadConstraints": [spread],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1034, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "keys", "secret": {"secretName": f"{name}-keys"}}],
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.release.kubernetes", description="Manifests of the live release's Bento, as YAML."
    )
    parser.add_argument("recipe")
    parser.add_argument("--image", required=True, help="what `bentoml containerize` built and you have pushed")
    for field, text in (("replicas", "at least"), ("most", "at most"), ("queue", "waiting requests a pod")):
        parser.add_argument(f"--{field}", type=int, default=getattr(Sizes, field), help=f"{text} (%(default)s)")
    parser.add_argument("--cpu", default=Sizes.cpu, help="of a pod (%(default)s)")
    parser.add_argument("--memory", default=Sizes.memory, help="of a pod (%(default)s)")
    given = parser.parse_args(arguments)
    live = Store.of(Path(".")).pointers(given.recipe).live
    if live is None:
        raise MetrolineError(f"nothing of {given.recipe} is released", hint=f"metroline run {given.recipe}")
    sizes = Sizes(given.replicas, given.most, given.cpu, given.memory, given.queue)
    made = manifests(given.recipe, given.image, sizes, live.partition(":")[2])
    print(written(made), end="")
    return 0


if __name__ == "__main__":
    exit_with(main)
