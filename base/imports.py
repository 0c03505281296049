"""Which source files a module is made of: itself and what it imports of ours, directly or not.

    closure("pipelines.training.stage")      # {Path("pipelines/training/stage.py"), Path("base/errors.py"), ...}

One answer for all who ask: what is stale (pipelines/recipe/code.py), the fingerprint of a training run, the commit in a
bundle's manifest, the contents of a Bento. Found by reading, not by importing; imports inside functions count, those
for type checkers alone do not.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

OURS = ("base", "data", "kernels", "models", "pipelines", "serving")
"""Our packages."""


def closure(
    *entries: str, root: Path = Path("."), without: Iterable[str] = (), passed_over: Mapping[str, frozenset[str]] = {}
) -> set[Path]:
    """Files, relative to `root`, of the modules `entries` and of all that they import of ours; packages' __init__.py
    too.

    Args:
        entries: dotted names. Raises KeyError for one that is no module.
        root: the folder that the packages are in.
        without: modules that are not entered.
        passed_over: module → names of functions in it whose imports do not count.
    """
    left_out = set(without)
    waiting, seen, found = list(entries), set(left_out), set[Path]()
    for entry in entries:
        if not _files(root, entry):
            raise KeyError(entry)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for file in _files(root, name):
            found.add(file.relative_to(root))
            waiting += [
                each for each in imports(file, passed_over.get(name, frozenset())) if each.split(".")[0] in OURS
            ]
        if "." in name:
            waiting.append(name.rpartition(".")[0])  # importing a.b runs a/__init__.py
    return found


def digest(files: Iterable[Path], root: Path = Path(".")) -> str:
    """SHA-256 over names and contents of files."""
    value = hashlib.sha256()
    for file in sorted(files):
        value.update(file.as_posix().encode() + b"\0" + _content(root / file) + b"\0")
    return value.hexdigest()


@cache
def imports(file: Path, passed_over: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of all modules that a file imports, none of a file that is no Python; for `from a import b` both a and a.b.
    Functions with a name in `passed_over` are not looked into."""
    names: set[str] = set()
    try:
        waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    except (SyntaxError, ValueError):
        return frozenset()  # Python says so to whoever runs it
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.FunctionDef) and node.name in passed_over:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    return frozenset(names)


@cache
def _content(file: Path) -> bytes:
    return file.read_bytes()


def inner_module(name: str, inner: str) -> str:
    """`name.inner` where the module `name` is a folder that has it, else `name`: a thing may be a file or a folder."""
    spec = importlib.util.find_spec(name)
    folder = spec is not None and spec.submodule_search_locations
    return f"{name}.{inner}" if folder and importlib.util.find_spec(f"{name}.{inner}") else name


def _files(root: Path, name: str) -> list[Path]:
    """The file of a module, if it is one of ours."""
    path = root.joinpath(*name.split("."))
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
