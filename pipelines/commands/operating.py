"""The commands around a model: search its settings, foretell its loss, collect what users said, retrain it, sign it.

Declarations, as in pipelines/commands/cli.py.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the commands to `metroline`."""
    app.command(
        help="""Search settings of a recipe: many short trainings, judged on the validation split alone.

        Stopped or killed anywhere, the same command goes on and arrives at the same table. The winner is trained with
        a second seed and written as a patch of the recipe; the test split stays closed until `metroline run`.
        Kinds: uniform(a, b), loguniform(a, b), int(a, b[, step]), logint(a, b), choice(a, b, ...).
        """,
        epilog='Example:  metroline tune digits --set "train.lr=loguniform(1e-4, 1e-1)" '
        '--set "model.widths=choice([64], [96], [128, 64])" --trials 40 --minutes 30',
    )(tune)
    app.command(
        help="""Train a recipe at several sizes and lengths, and say how its loss falls with parameters and data.

        The largest run is not fitted but foretold: so far can the law be trusted. Stopped anywhere, the same command
        goes on. What varies is written as for `metroline tune`, with single values.
        """,
        epilog='Example:  metroline scale speeches --set "model.width=choice(48, 96, 144, 192)" '
        '--set "train.steps=choice(60, 120, 240)"',
    )(scale)
    app.command(
        help="""Turn what an endpoint kept into rows with their truth, tracked by DVC, which a recipe can learn from.

        The endpoint keeps feedback with METROLINE_FEEDBACK=FOLDER, and inputs with METROLINE_SAMPLE (a share) as well.
        """,
        epilog="Example:  metroline collect digits --from feedback/\n\n"
        "Learn from it:  metroline init digits-2 --data data/collected/digits/rows.jsonl --target digit "
        "--task classification",
    )(collect)
    app.command(
        help="""Train a recipe again when Prometheus finds that what its model is asked has drifted.

        It receives Alertmanager's notifications, with a key, and starts runs on the Prefect server, which it brings
        along with a worker where there is none. A run pins the recipe's own files as they are by then. Repeated alerts
        are debounced; the runs of 24 hours have a budget.
        """,
        epilog="Beside `metroline serve speeches`:  metroline watch speeches\n\n"
        "And what sends the alerts:  python -m serving.monitoring.stack --receiver http://127.0.0.1:9095",
    )(watch)
    app.command(
        help="""Say where a release came from: data, commit, recipe, gates, parity, parents; or a request that was kept.

        The release's files are hashed again. A request is found where the endpoint kept it or feedback on it.
        """,
        epilog="The live release:  metroline trace digits\n\nA request:  metroline trace REQUEST_ID --from feedback/",
    )(trace)
    app.command(
        help="""Sign the live release of a recipe, so that endpoints that trust your key alone serve it.

        Keys and signatures are those of minisign. With METROLINE_SIGN_KEY=FILE releases are signed as they are made; an
        endpoint with METROLINE_TRUST=FILE.pub refuses what the key has not signed, and goes on with what it has.
        """,
        epilog="A pair of keys, once:  metroline sign --new-key team.key\n\n"
        "A release:  metroline sign digits --key team.key",
    )(sign)


def tune(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="name of a file in pipelines/recipes/, without .yaml")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=KIND(...)", help="what varies (may be repeated)")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="how many in all; more than before goes on")] = 40,
    minutes: Annotated[float, typer.Option(help="of trials, after which none begins")] = 30.0,
    sampler: Annotated[Literal["tpe", "random", "grid"], typer.Option(help="how the next settings are chosen")] = "tpe",
    pruner: Annotated[
        Literal["median", "hyperband", "none"], typer.Option(help="which trials end early, by their validation curve")
    ] = "median",
    seed: Annotated[int, typer.Option(min=0, help="of the search")] = 1,
) -> None:
    from pipelines.line import environment

    root = environment.enter()
    from pipelines.commands.tune import tune as run
    from pipelines.tuning.search import Options

    run(recipe, settings or [], Options(trials, minutes, sampler, pruner, seed), root, Console(stderr=True))


def scale(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="name of a file in pipelines/recipes/, without .yaml")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=choice(...)", help="what varies (may be repeated)")
    ] = None,
) -> None:
    from pipelines.line import environment

    root = environment.enter()
    from pipelines.commands.scale import scale as run

    run(recipe, settings or [], root, Console(stderr=True))


def collect(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="whose requests, and whose columns the rows get")],
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="of the records; default: METROLINE_FEEDBACK")
    ] = None,
    track: Annotated[bool, typer.Option("--dvc/--no-dvc", help="have DVC track the file")] = True,
) -> None:
    from pipelines.commands import collect as collecting

    given = folder.expanduser().resolve() if folder else None
    from pipelines.line import environment

    root = environment.enter()
    found = collecting.collect(recipe, collecting.folder_of(given), root)
    if track:
        collecting.track(found.path, root)
    labels = ", ".join(f"{count} {label}" for label, count in found.labels.most_common(5))
    print(f"{found.path.relative_to(root)}: {found.rows} rows ({labels})")
    for why, count in found.without.items():
        if count:
            print(f"left out: {count} {why}")


def watch(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="whose alerts lead to a run")],
    runs_a_day: Annotated[int, typer.Option(min=0, help="of each recipe that alerts may start in 24 hours")] = 4,
    minutes_a_day: Annotated[float, typer.Option(help="that these runs may take in all; then one is stopped")] = 240.0,
    debounce: Annotated[float, typer.Option(help="minutes after a run in which an alert starts no other one")] = 60.0,
    key: Annotated[
        Path, typer.Option(help="file with the key that Alertmanager has to bring; it is made where there is none")
    ] = Path(".metroline/watch/key"),
    host: Annotated[str, typer.Option(help="0.0.0.0 lets an Alertmanager elsewhere in")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0: any free one")] = 9095,
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="of the Prefect server on this machine")] = 4200,
) -> None:
    from pipelines.line import environment

    key = key.expanduser()
    root = environment.enter()
    from pipelines.line.watch.command import watch as run
    from pipelines.line.watch.retraining import Limits

    run(
        root, recipes, Limits(runs_a_day, minutes_a_day, debounce), key, host=host, port=port, prefect_port=prefect_port
    )


def trace(
    what: Annotated[
        str, typer.Argument(metavar="RELEASE|REQUEST", help="a recipe, a version, NAME:VERSION, or a request's id")
    ],
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="of requests kept; default: METROLINE_FEEDBACK")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="everything, as one JSON object")] = False,
) -> None:
    given = folder.expanduser().resolve() if folder else None
    from pipelines.line import environment

    root = environment.enter()
    from pipelines.commands.trace import show

    show(what, given, root, as_json=as_json)


def sign(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="whose live release is signed")] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a secret key without a password; default: METROLINE_SIGN_KEY")
    ] = None,
    new_key: Annotated[Path | None, typer.Option(metavar="FILE", help="make one, and its public key FILE.pub")] = None,
) -> None:
    from base import minisign
    from base.errors import MetrolineError

    if (recipe is None) == (new_key is None):
        raise MetrolineError("sign what?", hint="metroline sign RECIPE, or metroline sign --new-key FILE")
    if new_key is not None:
        beside = minisign.new(new_key.expanduser())
        print(f"{new_key} signs: keep it to yourself\n{beside} is for METROLINE_TRUST: give it to who serves")
        return
    given = key.expanduser().resolve() if key else None
    from pipelines.line import environment

    root = environment.enter()
    from pipelines.release.signing import key_of, sign_live
    from pipelines.release.store import Store

    if (secret := key_of(given)) is None:
        raise MetrolineError("no key to sign with", hint="--key FILE, or METROLINE_SIGN_KEY=FILE")
    assert recipe is not None
    print(f"{sign_live(recipe, Store.of(root), secret)} is signed")
