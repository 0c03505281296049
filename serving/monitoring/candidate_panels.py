"""The row about a candidate that is tried beside the live release, in the dashboards of every engine.

Without a candidate its lines are at 0: what is not there would look like a broken panel.
"""

from serving.monitoring.endpoint_panels import M, rate
from serving.monitoring.panels import BAD, GOOD, Panel, lines, number
from serving.monitoring.promql import limit

NONE = f"sum(metroline_delivery_decisions_total{{{M}}}) * 0"
"""0, wherever a model is served."""


def candidate() -> list[Panel]:
    """What is known of it, and what became of it."""
    back = f'sum(increase(metroline_delivery_decisions_total{{{M}, decision="rollback"}}[1h]))'
    return [
        number(
            "Candidates rolled back",
            "Candidates that the rule has rolled back within the last hour.",
            back,
            width=4,
            decimals=0,
            steps={None: GOOD, limit("MetrolineCandidateRolledBack"): BAD},
        ).height(8),
        lines(
            "Candidate compared",
            "Requests that a candidate and the live release have both answered: alike, different, failed by the "
            "candidate alone; dropped: there was no time to compare.",
            {"{{outcome}}": f"{rate('metroline_delivery_compared_total', by='outcome')} or {NONE}"},
            unit="reqps",
            width=10,
        ),
        lines(
            "Evidence about the candidate",
            "Each sequential test: at -1 it says good, at 1 it says bad, and the candidate is rolled back.",
            {"{{test}}": f"max by (test) (metroline_delivery_evidence{{{M}}}) or {NONE}"},
            width=10,
            zero=False,
        ),
    ]
