"""How a candidate release is tried beside the live one: the plan that the line writes and the endpoint follows.

    <BENTOML_HOME>/metroline/speeches.json
        {"live": ..., "previous": ..., "candidate": "speeches:2b...", "plan": {...}}

The line (pipelines/line/delivery.py) writes plans and moves releases; the endpoint (serving/runtime/delivery/) tries
the candidate by its plan and decides. Neither imports the other.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

DEPLOY = "METROLINE_DEPLOY"
"""Variable that says how a new release is deployed, over what the recipe says: for the processes of one run."""
Mode = Literal["shadow", "canary"]
Decision = Literal["promote", "rollback"]


@dataclass(frozen=True)
class Plan:
    """What is done with a candidate. The numbers are those of the recipe's `release` section (docs/recipes.md)."""

    id: str
    """Of this attempt: the same release tried again is another one."""
    mode: Mode
    """shadow: it answers requests that the live release has answered, for comparison alone; canary: it answers some."""
    share: float
    """Of the requests, 0 to 1."""
    sticky: Literal["request", "key"] = "request"
    requests: int = 500
    minutes: float = 60.0
    differ: float = 0.1
    slower: float = 1.25
    began: float = 0.0
    """Unix time."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `asdict` made these values of. Raises TypeError, ValueError: it is none."""
        plan = cls(**values)
        if plan.mode not in ("shadow", "canary") or not 0 < plan.share <= 1 or not plan.id.isalnum():
            raise ValueError(f"{dict(values)} is no plan of a delivery")
        return plan

    def values(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)
