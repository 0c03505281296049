"""Ask DVC what is stale, and have DVC run one stage, in a process group that can be stopped as a whole.

    entries("speeches")                    # [Entry("fetch@speeches", ()), Entry("train@speeches", ("models",)), ...]
    run_stage("train@speeches", print)

DVC decides everything about staleness; this module decides nothing, and knows no Prefect. It imports DVC only inside
functions: asking takes about a second, and help texts should not wait for it.
"""

import json
import logging
import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.children import python
from base.errors import MetrolineError
from base.processes import stop_group
from base.writable import check_writable
from base.yaml_files import quoted, read_yaml, refuse_conflict
from pipelines.line.stages import ERROR_MARKER, FORCED, OWNER
from pipelines.recipe import kinds
from pipelines.recipe.code import FILE as CODE_HASHES
from pipelines.recipe.load import RECIPES, listed_bases, listed_recipes
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.schema import Recipe
from pipelines.recipe.sections import RecipeSource, ReleaseSource
from pipelines.tasks.interface import ROLES, Uses

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

Watch = Callable[[str], None]
"""Takes one line of a stage's output, without its line end."""

GRACE = 60.0
"""Seconds between SIGTERM and SIGKILL: what the trainer may need to finish a step and save a checkpoint."""
RETRY_LOCK = 2.0
"""Seconds between looks at a lock that another DVC command holds."""
BUSY = ("Unable to acquire lock", "is busy, it is being blocked by")
DVC_ERROR = re.compile(r"ERROR: (failed to reproduce '[^']*': +)?")
CHATTER = (
    "Running stage '", "> ", "Updating lock file", "Generating lock file", "To track the changes",
    "To enable auto staging", "git add dvc.lock", "dvc config core.autostage", "Use `dvc push`",
    "ERROR: failed to reproduce", "WARNING: Process '", "Data and pipelines are up to date",
)  # fmt: skip
"""How the lines begin that DVC says about itself; they tell a user of the line nothing."""

DAMAGED = {
    "dvc.lock": "`git checkout dvc.lock` brings it back, or remove it: then all stages run again",
    "dvc.yaml": "`git checkout dvc.yaml` brings it back",
}
"""The way on when DVC cannot read one of its files."""


CODE = "code"
"""The stage of dvc.yaml that hashes the source files of all others."""


class StageFailed(MetrolineError):
    """A stage ended with an error. `temporary`: the same may work later."""

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


@dataclass(frozen=True)
class Entry:
    """One stage of a recipe and why it has to run; no reasons: it is fresh."""

    address: str
    reasons: tuple[str, ...]

    @property
    def stage(self) -> str:
        """`train` of `train@speeches`."""
        return self.address.partition("@")[0]

    @property
    def recipe(self) -> str:
        """`speeches` of `train@speeches`: the one that was asked for, or another that it begins with."""
        return self.address.partition("@")[2]

    def named_in(self, recipe: str) -> str:
        """What it is called in a run of `recipe`: `train`, or `train@tiny` of another one."""
        return self.stage if self.recipe == recipe else self.address

    @property
    def fresh(self) -> bool:
        """Its outputs belong to its inputs as they are now."""
        return not self.reasons


def entries(recipe: str, waiting: Watch | None = None) -> list[Entry]:
    """All stages that the recipe's release needs, in the order in which they run, as DVC finds them now.

    Call it in the project's root. `waiting` is told once when another DVC command holds the lock. Raises
    MetrolineError: unknown recipe, a recipe that DVC does not know or cannot track, a broken dvc.yaml.
    """
    check_recipe(recipe)
    found = _entries(recipe, waiting)
    if found is None:  # only then can be said what is stale, and it takes a second
        run_stage(CODE, lambda line: None)
        found = _entries(recipe, waiting)
    return found or []


def _entries(recipe: str, waiting: Watch | None) -> list[Entry] | None:
    """The same; None where code has changed since the stage ran that hashes it."""
    with _repository(waiting) as repo:
        from dvc.repo.reproduce import plan_repro

        if any(_reasons(stage) for stage in repo.index.stages if stage.addressing == CODE):
            return None
        wanted = [stage for stage in repo.index.stages if stage.addressing.endswith(f"@{recipe}")]
        if not wanted:  # no stages would mean all of them to DVC
            raise MetrolineError(f"dvc.yaml makes no stage for {recipe}", hint=DAMAGED["dvc.yaml"])
        graph = repo.index.graph
        reasons: dict[Stage, tuple[str, ...]] = {}
        for stage in plan_repro(graph, wanted):
            own = _reasons(stage)
            after = [f"after {before.addressing.partition('@')[0]}"
                     for before in graph.successors(stage) if reasons[before]]  # fmt: skip
            reasons[stage] = tuple(own or after)
        return [Entry(stage.addressing, why) for stage, why in reasons.items() if stage.addressing != CODE]


def is_fresh(address: str) -> bool:
    """Whether DVC would leave this stage alone. Only the stage itself is asked about, not those before it."""
    with _repository(None) as repo:
        return not any(_reasons(stage) for stage in repo.stage.collect(address))


def check_recipe(name: str, above: tuple[str, ...] = ()) -> None:
    """Raise MetrolineError unless the recipe is valid, in params.yaml, and has every section.

    DVC tracks the sections of the YAML file, so a section that is left to its defaults must be there, as `clean: {}`.
    The same of the recipes that it begins with or uses, which `bases`, `releases` and a section of each role of
    params.yaml name. `above`: those that need it.
    """
    recipe = load_recipe(name)
    source, task = recipe.pretrained.source, kinds.task(recipe.task.kind)(recipe)
    uses = task.uses if isinstance(task, Uses) else {}
    path = RECIPES / f"{name}.yaml"
    there = read_yaml(path)
    missing = [section for section in Recipe.model_fields if section not in there and section != "name"]
    if missing:
        hint = f"for the defaults write an empty one, such as `{missing[0]}: {{}}`"
        raise MetrolineError(f"{path}: no {', '.join(missing)}", hint=hint)
    if name not in listed_recipes():
        raise MetrolineError(f"recipe {name} is not in params.yaml", hint=f"add `- {quoted(name)}` to its `recipes`")
    others = {"bases": source.name if isinstance(source, RecipeSource) else None,
              "releases": source.name if isinstance(source, ReleaseSource) else None,
              **{f"{role}s": uses.get(role) for role in ROLES}}  # fmt: skip
    for section, base in others.items():
        if (listed := listed_bases(section).get(name)) != base:
            entry = f"`{quoted(name)}: {quoted(base or listed or '')}`"
            hint = f"add {entry} to its `{section}`" if base else f"take {entry} out of its `{section}`"
            verb = "begins with" if section in ("bases", "releases") else "uses as its " + section.removesuffix("s")
            said = f"params.yaml says that {name} {verb} {listed or 'no other recipe'}"
            raise MetrolineError(said, hint=hint)
        if base in (name, *above):
            raise MetrolineError(f"recipes begin with each other: {' → '.join((*above, name, base))}")
        if base is not None:
            check_recipe(base, (*above, name))


def run_stage(address: str, watch: Watch, *, force: bool = False, grace: float = GRACE) -> None:
    """Run one stage through `dvc repro`, and wait while another DVC command has its files.

    Every line of its output goes to `watch`. Whatever ends this call early (Ctrl-C, a time-out, a cancelled flow: any
    exception) first ends every process of the stage: SIGTERM, after `grace` seconds SIGKILL. Raises StageFailed.
    """
    told = False
    while (blocked := _attempt(address, watch, force, grace)) is not None:
        if not told:
            watch(f"waiting for another DVC command to finish with the files of {address} {blocked}".rstrip())
            told = True
        time.sleep(RETRY_LOCK)


def _attempt(address: str, watch: Watch, force: bool, grace: float) -> str | None:
    """None: done. Text: another DVC command is in the way (which one, where DVC says so)."""
    command = python("dvc", "repro", "--single-item", *(["--force"] if force else []), address)
    environment = {**os.environ, "METROLINE_PROGRESS": "lines", "PYTHONUNBUFFERED": "1", OWNER: str(os.getpid())}
    environment |= {FORCED: "1"} if force else {}
    busy, blocker, said, failure = False, "", "", None
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        for line in _lines(process):
            if line.startswith(ERROR_MARKER):
                failure = json.loads(line.removeprefix(ERROR_MARKER))
            elif any(sign in line for sign in BUSY):
                busy = True
            elif busy and line.lstrip().startswith("(PID "):
                blocker = blocker or line.strip()
            elif line.startswith("ERROR: ") and "failed to run: " not in line:
                said = DVC_ERROR.sub("", line)
            elif line and not busy and not line.lstrip().startswith(CHATTER):
                watch(line)
        code = process.wait()
    finally:
        stop_group(process.pid, grace)
        process.wait()
    if code == 0:
        return None
    if failure:
        raise StageFailed(failure["message"], temporary=failure["temporary"])
    if busy:
        return blocker
    raise StageFailed(said or f"stage {address} failed with exit code {code}; its own output says why")


def _lines(process: "subprocess.Popen[bytes]") -> Iterator[str]:
    """The lines that a process prints, until it ends: a child that it left behind may hold the pipe open for ever."""
    assert process.stdout is not None
    pipe, rest = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=0.2):
                if not (chunk := os.read(pipe, 1 << 16)):
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace").rstrip() for line in lines)
            elif process.poll() is not None:
                break
    if rest:
        yield rest.decode(errors="replace").rstrip()


@contextmanager
def _repository(waiting: Watch | None) -> "Iterator[Repo]":
    """DVC's repository with its lock held. DVC's own errors become MetrolineError."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError
    from dvc.repo import Repo

    check_writable(Path("."), (".dvc", ".dvc/tmp"))  # also to be asked, it takes its lock
    logging.getLogger("dvc.rwlock").setLevel(logging.ERROR)  # it says that it cleared a dead process's lock
    for path in map(Path, DAMAGED):
        if path.is_file():
            refuse_conflict(path, path.read_text(encoding="utf-8", errors="replace"))  # DVC does not say so
    try:
        with Repo(".") as repo:
            while True:
                try:
                    repo.lock.lock()
                    break
                except LockError:
                    if waiting:
                        waiting("waiting for another DVC command to release its lock")
                        waiting = None
            try:
                yield repo
            finally:
                repo.lock.unlock()
    except PermissionError as error:  # a file that another user has left
        raise MetrolineError(f"DVC may not use {error.filename}: {error.strerror}", hint="who owns it?") from None
    except NotDvcRepoError:
        raise MetrolineError("this project has lost its .dvc folder", hint="git checkout .dvc, or dvc init") from None
    except DvcException as error:
        said = " ".join(str(error).split())
        raise MetrolineError(
            f"DVC: {said}", hint=next((DAMAGED[name] for name in DAMAGED if name in said), None)
        ) from None


def _reasons(stage: "Stage") -> list[str]:
    """DVC's status of one stage as short words: `models modified`, `recipe's train modified`. None: it is fresh."""
    from dvc.lock import LockError

    try:
        status: list[Any] = stage.status().get(stage.addressing, [])
    except LockError:  # being written to now: whoever wants to run it will wait, and then look again
        return ["another DVC command is at its files"]
    words = []
    for item in status:
        if isinstance(item, str):
            words.append({"changed checksum": "its command or definition"}.get(item, item))
            continue
        for changes in item.values():
            for path, change in changes.items():
                if isinstance(change, dict):  # {"pipelines/recipes/x.yaml": {"train": "modified"}}
                    whose = "code" if Path(path) == CODE_HASHES else "recipe"
                    words.extend(f"{whose}'s {section} {how}" for section, how in change.items())
                else:
                    words.append(f"{path} {change}")
    return words
