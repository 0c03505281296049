"""The command `metroline`.

    metroline --help

Only declarations: each command imports what it runs when it runs, so that help is instant and a line with nothing to do
is done in seconds. An error that the user can mend is one line on standard error and exit code 1; METROLINE_DEBUG=1
shows where it came from. Ctrl-C exits with 130.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from base.children import python, share_code
from base.errors import MetrolineError
from base.terminal import print_anywhere
from pipelines.commands import operating


class Group(TyperGroup):
    """The group of all commands: turns errors into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except MetrolineError as error:
            if os.environ.get("METROLINE_DEBUG", "0") not in ("", "0"):
                raise
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train a small model on your own data and serve it, every hand-over proven.

A [bold]recipe[/] (pipelines/recipes/NAME.yaml) says what: data, tokenizer, model, training, gates.
Its line: fetch → prepare → train → evaluate → export → release.
[bold]run[/] does what is stale and leaves the rest alone.""",
    epilog="""[bold]Begin with[/]  metroline demo

[bold]Your own text:[/]  metroline init mine --data texts/ && metroline run mine && metroline serve mine

[bold]Something is missing?[/]  metroline doctor   ·   [bold]What is there?[/]  metroline status

[bold]Exit codes:[/]  0 done   1 an error, said in one line with what to do   2 wrong usage   130 Ctrl-C   143 SIGTERM

[bold]Variables:[/]  METROLINE_MIRROR=FOLDER takes sources from FOLDER/host/path before the network;
METROLINE_DEVICE=cuda:1 trains there; METROLINE_DEBUG=1 shows where an error came from (all: docs/line.md)""",
)

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="name of a file in pipelines/recipes/, without .yaml")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0: any free one")]
Url = Annotated[str, typer.Option(help="address of the endpoint")]


def enter() -> Path:
    """The project's root, as the working folder and with its environment."""
    from pipelines.line import environment

    return environment.enter()


@app.command(
    help="""Make a recipe for your own data, pinned by its hash.

    That is text, documents, a table, a series, images or clips in folders by class, images with masks, or chats.

    It says what it found and which task it takes. It writes pipelines/recipes/NAME.yaml, to be changed at will
    (docs/recipes.md has every key), and one line of params.yaml. Nothing is copied or sent anywhere.
    """,
    epilog="Text:  metroline init letters --data ~/letters && metroline run letters\n\n"
    "A table:  metroline init prices --data flats.csv --target price\n\n"
    "A series:  metroline init sales --data sales.csv --task forecasting --target amount\n\n"
    "Images:  metroline init pets --data ~/pets      (with ~/pets/cat/1.png, ~/pets/dog/1.png, ...)\n\n"
    "Boxes, masks, speech:  the same, with an .xml or COCO's .json, a mask, a .txt beside each image or clip\n\n"
    "Documents, to be searched and cited:  metroline init papers --data ~/papers --task index\n\n"
    "Chats, for a model to learn:  metroline init helpdesk --from smollm2 --data chats.jsonl\n\n"
    "The data changed:  metroline init letters --data ~/letters --update && metroline run letters",
)
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the new recipe: lower-case letters, digits, hyphens")],
    data: Annotated[
        Path,
        typer.Option(help="a file or a folder: .txt, .jsonl[.gz|.zst], .parquet, .csv, .tsv, images, clips, documents"),
    ],
    target: Annotated[str | None, typer.Option(help="of a table: the column to predict, or to forecast")] = None,
    task: Annotated[
        Literal[
            "classification",
            "regression",
            "forecasting",
            "segmentation",
            "detection",
            "transcription",
            "language-modelling",
            "index",
        ]
        | None,
        typer.Option(help="instead of what the data says; forecasting and index must be asked for"),
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="a column that is no input (may be repeated)")] = None,
    encoding: Annotated[str | None, typer.Option(help="of a table that is not UTF-8, such as latin-1")] = None,
    base: Annotated[
        str | None,
        typer.Option("--from", metavar="RECIPE", help="of chats: the recipe whose model learns their answers"),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="the data changed: pin it anew in the existing recipe")
    ] = False,
) -> None:
    from pipelines.recipe.new import absolute, create, repin

    data = absolute(data)
    root = enter()
    if update:
        if target is not None or task is not None or drop or encoding or base is not None:
            raise MetrolineError("--update only pins the data", hint=f"what is learnt stands in the recipe {name}")
        path, own = repin(name, data, root)
        print(own.summary())
    else:
        path, found = create(name, data, root, target=target, task=task, drop=drop or (), encoding=encoding, base=base)
        print("\n".join(filter(None, [found.own.summary(), found.said])))
    print(
        f"{path.relative_to(root)} {'pins the data as it is now' if update else 'is made'}; now: metroline run {name}"
    )


@app.command(
    help="""Bring a recipe's line up to date: run the stages that are stale, then put the release live.

    Ctrl-C stops it cleanly; the next run resumes where it stopped, training within the step.
    """,
    epilog="Example:  metroline run speeches\n\nAgain, though it is fresh:  metroline run speeches --force train\n\n"
    "Try what is new on a tenth of the requests:  metroline run speeches --deploy canary",
)
def run(
    recipe: RecipeName,
    force: Annotated[list[str] | None, typer.Option(help="run this stage though it is fresh (may be repeated)")] = None,
    deploy: Annotated[
        Literal["direct", "shadow", "canary"] | None,
        typer.Option(help="how a new release takes the live one's place, over what the recipe says"),
    ] = None,
) -> None:
    enter()
    from pipelines.line.run import run as run_line

    _exit_on_sigterm()
    run_line(recipe, Console(stderr=True), force or [], deploy)


@app.command(
    help="""Run one stage here and now, whether it is stale or not. This is what DVC calls; `run` is what you want.

    DVC does not hear of it: the next `run` may do the stage again.
    """,
    epilog="Example:  metroline stage prepare speeches",
)
def stage(
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="fetch, base, prepare, train, evaluate, export or release")
    ],
    recipe: RecipeName,
) -> None:
    enter()
    from pipelines.line import stages

    try:
        stages.run(stage, recipe)
    except MetrolineError as error:
        if os.environ.get("METROLINE_PROGRESS") == "lines":
            stages.report(error)
        raise


@app.command(
    help="Show which stages are stale, which release is live, and what the endpoint serves.",
    epilog="All recipes:  metroline status\n\nOne, with why a stage is stale:  metroline status speeches",
)
def status(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="only this one; with why a stage is stale")
    ] = None,
    url: Url = "http://127.0.0.1:3000",
) -> None:
    root = enter()
    from pipelines.commands.status import show

    show(recipe, url, root, Console())


@app.command(
    help="Serve releases over HTTP (OpenAI's API at /v1, a playground at /, metrics at /metrics) until Ctrl-C.",
    epilog="The live release:  metroline serve speeches\n\n"
    "Several, picked by name:  metroline serve speeches shakespeare\n\n"
    "Any bundle:  metroline serve --bundle artifacts/speeches/bundle --port 0",
)
def serve(
    recipes: Annotated[list[str] | None, typer.Argument(metavar="RECIPE...", help="serve its live release")] = None,
    bundle: Annotated[list[Path] | None, typer.Option(help="serve this folder instead of a release")] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in")] = "127.0.0.1",
    port: Port = 3000,
    workers: Annotated[int, typer.Option(min=1, help="processes, each with its own copy of the model")] = 1,
) -> None:
    bundles = [each.expanduser().resolve() for each in bundle or []]
    root = enter()
    from pipelines.line.endpoint import command

    sys.stdout.flush()
    arguments = command(recipes or [], bundles, host, port, workers, root)
    os.execv(arguments[0], arguments)


@app.command(
    help="""Make, list and remove API keys. As soon as there is one, endpoints ask for it.

    `add` takes a key's own limits: --requests-per-minute and --tokens-per-minute, 0 for none.
    """,
    context_settings={"ignore_unknown_options": True},
    epilog="A new key, shown once:  metroline keys add alice --requests-per-minute 60\n\n"
    "Who has one:  metroline keys list\n\nTake it back:  metroline keys remove alice",
)
def keys(
    arguments: Annotated[list[str], typer.Argument(metavar="add|list|remove [NAME]", help="what to do")],
) -> None:
    enter()
    sys.stdout.flush()
    os.execv(sys.executable, python("serving.http.keys", *arguments))


@app.command(
    help="Chat with the served model, or let one that has no chat template continue your text; /help lists settings.",
    epilog='To try things out:  metroline chat\n\nFor a script:  metroline chat "The state of the Union is"',
)
def chat(
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="continue this text and exit")] = None,
    url: Url = "http://127.0.0.1:3000",
) -> None:
    sys.stdout.flush()
    question = [] if prompt is None else ["--", prompt]
    os.execv(sys.executable, python("pipelines.commands.chat", "--url", url, *question))


@app.command(
    help="Make the candidate live that a run with --deploy shadow or canary tries, without waiting for its rule.",
    epilog="Example:  metroline promote speeches",
)
def promote(recipe: RecipeName) -> None:
    from pipelines.line import run

    run.promote(recipe, _known(recipe))


@app.command(
    help="Try a candidate no longer; where there is none, make the previous release live again (twice: back).",
    epilog="Example:  metroline rollback speeches",
)
def rollback(recipe: RecipeName) -> None:
    from pipelines.line import run

    run.roll_back(recipe, _known(recipe))


def _known(recipe: str) -> Path:
    """The project's root. Raises MetrolineError: no such recipe."""
    root = enter()
    from pipelines.recipe.load import names, unknown_recipe

    if recipe not in names(root):
        raise unknown_recipe(recipe, root)
    return root


@app.command(
    help="Serve an adapter no longer. Its releases stay, and `metroline run` makes it live again.",
    epilog="Example:  metroline retire smollm2-french",
)
def retire(recipe: RecipeName) -> None:
    root = enter()
    from pipelines.line import deployment

    typer.echo(f"{deployment.retire(recipe, root)} is served no longer")


@app.command(
    help="""Run a recipe's line at set times, with Prefect.

    Uses the server of PREFECT_API_URL, else one on this machine, which it starts when there is none. Then a worker runs
    here until Ctrl-C. A run that is due while the last one goes on is cancelled; one that was killed is marked crashed.
    """,
    epilog='Every night:  metroline schedule speeches --cron "0 3 * * *" --timezone Europe/Berlin\n\n'
    "Go on with what is registered:  metroline schedule\n\n"
    "No longer:  metroline schedule speeches --remove",
)
def schedule(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="none: only go on with the others")] = None,
    cron: Annotated[str | None, typer.Option(help="minute, hour, day, month, weekday; quote it")] = None,
    timezone: Annotated[str, typer.Option(help="in which the times are meant")] = "UTC",
    remove: Annotated[bool, typer.Option("--remove", help="take the recipe off the schedule")] = False,
    register_only: Annotated[bool, typer.Option("--register-only", help="register and exit; start no worker")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="of the Prefect server on this machine")] = 4200,
) -> None:
    root = enter()
    from pipelines.line.schedule import serve_schedule

    serve_schedule(root, recipe, cron, timezone, remove=remove, register_only=register_only, port=port)


@app.command(
    help="""Check this machine: what is missing, and how to get it. Exits with 1 when something essential is.

    ✓ there; ○ not there, and only some things need it; ✗ missing. It changes nothing and reaches no network.
    """,
    epilog="Example:  metroline doctor && metroline demo",
)
def doctor() -> None:
    root = enter()
    from pipelines.commands.doctor import examine

    raise typer.Exit(examine(root, Console()))


@app.command(
    help="""The whole line, then the endpoint, then one real request.

    About four minutes on two cores the first time, seconds when nothing is stale. It goes on where it was stopped.
    """,
    epilog="Stay up until Ctrl-C:  metroline demo\n\nAnswer one request and exit:  metroline demo --once",
)
def demo(
    recipe: Annotated[str, typer.Option(help="which recipe")] = "speeches",
    once: Annotated[bool, typer.Option("--once", help="answer one request and exit, instead of staying up")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="the next free one is taken")] = 3000,
) -> None:
    root = enter()
    from pipelines.commands.demo import demonstrate

    _exit_on_sigterm()
    demonstrate(recipe, once=once, port=port, root=root, console=Console(stderr=True))


operating.register(app)


def _exit_on_sigterm() -> None:
    """SIGTERM ends this process as Ctrl-C does, with its stages, and exit code 143; a further one changes nothing."""

    def leave(number: int, frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def main() -> None:
    """Entry point of the command `metroline`."""
    share_code()
    print_anywhere()
    app(prog_name="metroline")


if __name__ == "__main__":
    main()
