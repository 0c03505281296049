"""The Grafana dashboard of training runs: does the model learn, is the machine busy, did the last run finish.

The numbers come from each run's metrics.prom through node-exporter; lines and colours are at the numbers where
alerts.yml fires. dashboards.py writes the JSON.
"""

from serving.monitoring.panels import BAD, CALM, GOOD, WARN, Panel, lines, number
from serving.monitoring.promql import limit

TITLE = "Metroline: training"
ABOUT = "Training runs: loss, speed, and when the last one finished."
R = 'recipe=~"$recipe"'
TOKENS_PER_SECOND = "suffix: tok/s"
DATA_WAIT = 0.03
"""Share of a step that may be spent waiting for data before the number turns orange."""


def each(metric: str) -> str:
    """One value a recipe, whichever machine it comes from."""
    return f"max by (recipe) (metroline_train_{metric}{{{R}}})"


def rows() -> dict[str, list[Panel]]:
    """Title of a row → its panels, in reading order."""
    return {"Now": now(), "Learning": learning(), "Speed": speed(), "Machine": machine()}


def now() -> list[Panel]:
    """The state at a glance."""
    return [
        number(
            "Running",
            "Whether a run is under way. A run that was killed goes on claiming it: see the alert of stalled runs.",
            each("running"),
            words={"0": ("no", CALM), "1": ("yes", GOOD)},
        ),
        number("Step", "Optimizer steps done.", each("step"), unit="locale"),
        number("Validation loss", "Mean per target, the latest.", each("valid_loss"), decimals=3),
        number(
            "Speed", "Targets trained on a second: tokens, images.", each("tokens_per_second"), unit=TOKENS_PER_SECOND
        ),
        number(
            "MFU",
            "Model FLOPs utilization: useful arithmetic as a share of the device's peak.",
            each("mfu_ratio"),
            unit="percentunit",
            decimals=1,
        ),
        number("Step time", "How long an optimizer step takes.", each("step_seconds"), unit="s"),
        number(
            "Waiting for data",
            "Share of a step in which the model waits for its batch.",
            f"{each('data_wait_seconds')} / {each('step_seconds')}",
            unit="percentunit",
            decimals=1,
            steps={None: GOOD, DATA_WAIT: WARN},
        ),
        number(
            "Last finished",
            "Time since a run last finished.",
            f"time() - {each('last_success_timestamp_seconds')}",
            unit="s",
            steps={None: GOOD, limit("MetrolineTrainingStale"): BAD},
        ),
    ]


def learning() -> list[Panel]:
    """Whether the model gets better."""
    return [
        lines(
            "Loss",
            "Mean per target: of the training batches, and of the validation split.",
            {"{{recipe}} training": each("loss"), "{{recipe}} validation": each("valid_loss")},
            width=12,
            zero=False,
        ),
        lines(
            "Gradient norm",
            "Global norm of the gradient before clipping.",
            {"{{recipe}}": each("gradient_norm")},
            width=12,
        ),
    ]


def speed() -> list[Panel]:
    """Whether the machine is used well."""
    return [
        lines(
            "Tokens a second",
            "Targets trained on a second: tokens, images.",
            {"{{recipe}}": each("tokens_per_second")},
            unit=TOKENS_PER_SECOND,
        ),
        lines("Utilization", "Model FLOPs utilization.", {"{{recipe}}": each("mfu_ratio")}, unit="percentunit"),
        lines(
            "Step time",
            "An optimizer step, and the part of it spent waiting for data.",
            {"{{recipe}} step": each("step_seconds"), "{{recipe}} data": each("data_wait_seconds")},
            unit="s",
        ),
    ]


def machine() -> list[Panel]:
    """What the run does to the machine it is on."""
    busy = '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))'
    return [
        lines(
            "Progress",
            "Optimizer steps done; a flat line while a run claims to be running is a stall.",
            {"{{recipe}}": each("step")},
            unit="locale",
        ),
        lines("Processor", "Share of all cores that is busy.", {"{{instance}}": busy}, unit="percentunit", maximum=1),
        lines(
            "Memory",
            "Used, and all there is.",
            {
                "{{instance}} used": "node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes",
                "{{instance}} total": "node_memory_MemTotal_bytes",
            },
            unit="bytes",
        ),
    ]
