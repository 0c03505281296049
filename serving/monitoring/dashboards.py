"""Write the Grafana dashboards' JSON from the code that describes them.

    python -m serving.monitoring.dashboards            # write serving/monitoring/grafana/dashboards/*.json
    python -m serving.monitoring.dashboards --check    # exit 1 when a committed file is not what the code gives

The JSON is committed, so that running Grafana needs neither this code nor the SDK (a development dependency).
"""

import argparse
import json
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from base.errors import MetrolineError, exit_with
from base.files import write_text
from serving.monitoring import forward_dashboard, retrieval_dashboard, serving_dashboard, training_dashboard
from serving.monitoring.panels import SOURCE, Panel
from serving.monitoring.promql import DASHBOARDS


def choice(name: str, metric: str, *, only: bool = False) -> dashboard.QueryVariable:
    """A drop-down of the values that the label `name` of `metric` has; all of them unless chosen. `only`: all means
    these, and not also the values that the label has on other metrics.
    """
    variable = (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
    return variable if only else variable.all_value(".*")


def assemble(name: str, title: str, about: str, rows: dict[str, list[Panel]]) -> dashboard.Dashboard:
    """A dashboard of titled rows. Every one links to the others and marks when an alert fired."""
    alerts = dashboard.AnnotationQuery().name("Alerts").datasource(SOURCE).enable(True).icon_color("red")
    link = dashboard.DashboardLink("Metroline").type(models.DashboardLinkType.DASHBOARDS).tags(["metroline"])
    board = (
        dashboard.Dashboard(title)
        .uid(f"metroline-{name}")
        .description(about)
        .tags(["metroline"])
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-30m", "now")
        .refresh("10s")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .annotation(alerts.expr('ALERTS{alertname=~"Metroline.*", alertstate="firing"}'))
        .link(link.keep_time(True))
    )
    for row, panels in rows.items():
        board.with_row(dashboard.Row(row))
        for panel in panels:
            board.with_panel(panel)
    return board


def generate() -> dict[str, str]:
    """File name without ending → JSON text."""
    boards = {
        "serving": assemble("serving", serving_dashboard.TITLE, serving_dashboard.ABOUT, serving_dashboard.rows())
        .with_variable(choice("model", "metroline_model_info"))
        .with_variable(choice("version", "metroline_model_info")),
        "forward": assemble("forward", forward_dashboard.TITLE, forward_dashboard.ABOUT, forward_dashboard.rows())
        .with_variable(choice("model", forward_dashboard.MODELS, only=True))
        .with_variable(choice("version", forward_dashboard.MODELS, only=True)),
        "retrieval": assemble(
            "retrieval", retrieval_dashboard.TITLE, retrieval_dashboard.ABOUT, retrieval_dashboard.rows()
        )
        .with_variable(choice("model", retrieval_dashboard.MODELS, only=True))
        .with_variable(choice("version", retrieval_dashboard.MODELS, only=True)),
        "training": assemble(
            "training", training_dashboard.TITLE, training_dashboard.ABOUT, training_dashboard.rows()
        ).with_variable(choice("recipe", "metroline_train_step")),
    }
    texts = {}
    for name, board in boards.items():
        built = board.build()
        for index, panel in enumerate(built.panels or [], start=1):
            panel.id_val = index
        texts[name] = json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return texts


def stale(folder: Path = DASHBOARDS) -> list[str]:
    """Which committed files are missing, differ from what the code gives, or are no longer generated."""
    wanted = {f"{name}.json": text for name, text in generate().items()}
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.monitoring.dashboards", description="Write the dashboards."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed file is out of date")
    options = parser.parse_args(arguments)
    if options.check:
        differing = stale()
        if differing:
            raise MetrolineError(f"out of date: {', '.join(differing)}", hint="python -m serving.monitoring.dashboards")
        print("dashboards are up to date")
        return 0
    for name, text in generate().items():
        write_text(DASHBOARDS / f"{name}.json", text)
        print(f"wrote {DASHBOARDS / name}.json")
    return 0


if __name__ == "__main__":
    exit_with(main)
