"""Alertmanager's webhook, version 4: the body of a notification, and why a recipe is to be trained again.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from base.errors import MetrolineError, printable

MODEL = "model"
"""The label that says which recipe an alert is about; `serving/monitoring/alerts.yml` gives it."""
LONGEST = 120
"""Characters of a reason: it becomes part of a run's name."""


class Alert(BaseModel):
    """One alert of a notification; what is not needed here is left out."""

    model_config = ConfigDict(extra="ignore")

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def recipe(self) -> str:
        """Which model it is about; empty: it does not say."""
        return self.labels.get(MODEL, "")

    @property
    def reason(self) -> str:
        """`MetrolineDrift: Prompts to tiny are 5.2 standard deviations from ...`, on one line."""
        name, summary = self.labels.get("alertname", "alert"), self.annotations.get("summary", "")
        text = printable(" ".join(f"{name}: {summary}".split()).removesuffix(":"))
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


class Notification(BaseModel):
    """A whole notification: alerts of one group."""

    model_config = ConfigDict(extra="ignore")

    version: Literal["4"]
    alerts: list[Alert] = Field(min_length=1)


def read(body: bytes) -> dict[str, str]:
    """Recipe → reason, of the alerts that fire; the first one of each recipe counts.

    Raises MetrolineError: no JSON, no notification of this version, an alert that names no model.
    """
    try:
        notification = Notification.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise MetrolineError(f"not a notification of Alertmanager (webhook version 4): {said}") from None
    firing = [alert for alert in notification.alerts if alert.status == "firing"]
    for alert in firing:
        if not alert.recipe:
            hint = "route only alerts that have one to this receiver"
            raise MetrolineError(f"{alert.reason}: the alert has no label `{MODEL}`", hint=hint)
    return {alert.recipe: alert.reason for alert in reversed(firing)}
