"""The kinds of tasks and models that a recipe may name: one module each, found by its name.

`task: {kind: language-modelling}` is the class `Task` of `pipelines/tasks/language_modelling/task.py` (or, of a task
in one file, of `pipelines/tasks/KIND.py`); `model: {kind: decoder}` has its keys in the class `Config` of
`models/lenet/config.py`, and its network in `network.py` beside it (or both in `models/KIND.py`; a config.py imports no
torch, so its recipes are read at once). So a new kind is a new file, and no list.
"""

import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from base.errors import MetrolineError, nearest
from base.imports import inner_module

TASK, MODEL = "language-modelling", "decoder"
"""What a recipe means that names none."""
TASKS, MODELS = ("pipelines.tasks", "task"), ("models", "config")
"""Where kinds live, and the module that a kind has which is a folder."""


def names(where: tuple[str, str]) -> list[str]:
    """All kinds, sorted: files and folders that define what is asked for."""
    package, inner = where
    found = []
    for folder in map(Path, importlib.import_module(package).__path__):
        for path in folder.iterdir():
            file = path / f"{inner}.py" if path.is_dir() else path
            if file.suffix == ".py" and file.is_file() and _defines(file, "Task" if inner == "task" else "Config"):
                found.append((path.name if path.is_dir() else path.stem).replace("_", "-"))
    return sorted(found)


def module_of(where: tuple[str, str], kind: str) -> str:
    """The dotted name of a kind's module. Raises MetrolineError with the nearest kind for one that is not there."""
    if kind not in (known := names(where)):
        what = "task" if where is TASKS else "model"
        raise MetrolineError(f"{what}.kind: there is no {what} {kind!r}; {nearest(kind, known)}")
    package, inner = where
    return inner_module(f"{package}.{kind.replace('-', '_')}", inner)


def network_of(kind: str) -> str:
    """The dotted name of the module that makes a model's network: network.py beside config.py, or the one file of both.
    Raises MetrolineError as `module_of` does."""
    return inner_module(module_of(MODELS, kind).removesuffix(".config"), "network")


def takes_first_weights(kind: str) -> bool:
    """Whether a model's network can begin with the weights of others. Found by reading: importing it takes a second."""
    spec = importlib.util.find_spec(network_of(kind))
    source = Path(spec.origin).read_text(encoding="utf-8") if spec is not None and spec.origin else ""
    return re.search(r"^def first\(", source, re.MULTILINE) is not None


def shared_tasks() -> list[str]:
    """The dotted names of the modules `base.py` in folders of tasks: classes that tasks are made of."""
    package = TASKS[0]
    folders = map(Path, importlib.import_module(package).__path__)
    return sorted(f"{package}.{path.parent.name}.base" for folder in folders for path in folder.glob("*/base.py"))


@cache
def task(kind: str) -> Any:
    """The class of a kind of task (`pipelines.tasks.interface.Task`). Raises MetrolineError: no such kind."""
    return importlib.import_module(module_of(TASKS, kind)).Task


@cache
def model_config(kind: str) -> type[BaseModel]:
    """The schema of a kind of model. Raises MetrolineError: no such kind."""
    found: Any = importlib.import_module(module_of(MODELS, kind)).Config
    return found


def _defines(file: Path, name: str) -> bool:
    pattern = rf"^(class {name}(?!\(Protocol)[:(]|{name} = )"
    return re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE) is not None
