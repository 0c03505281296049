"""The configuration of Alertmanager: alertmanager.yml with another receiver, key or pace."""

from pathlib import Path

import yaml

from base.errors import MetrolineError
from serving.monitoring.promql import FOLDER

WEBHOOK = "/alerts"
"""Path of the receiver that `metroline watch` is."""
PACE = ("group_wait", "group_interval", "repeat_interval")


def alertmanager_configuration(receiver: str, key: Path, seconds: int | None = None) -> str:
    """alertmanager.yml with the receiver at another URL and its key in another file.

    seconds: between notifications of one group, instead of minutes and hours. Raises MetrolineError: no key there.
    """
    if not key.is_file():
        raise MetrolineError(f"there is no key {key}", hint="`metroline watch RECIPE` makes it; start that first")
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))
    for each in config["receivers"]:
        for webhook in each.get("webhook_configs", ()):
            webhook["url"] = receiver.rstrip("/") + WEBHOOK
            webhook["http_config"]["authorization"]["credentials_file"] = str(key.resolve())
    if seconds is not None:
        config["route"] |= dict.fromkeys(PACE, f"{seconds}s")
    return yaml.safe_dump(config, sort_keys=False)
