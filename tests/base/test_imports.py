"""What a module is made of: what it imports, also inside functions; nothing that only type checkers see."""

from pathlib import Path

import pytest

from base.imports import closure, digest

FILES = {
    "base/__init__.py": "",
    "base/low.py": "import json",
    "data/__init__.py": "from base import low",
    "data/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from data import never\nimport data.b",
    "data/b.py": "def use():\n    from data.c import thing\n\ndef unused():\n    from data import d",
    "data/c.py": "thing = 1\nfrom data import a  # a circle",
    "data/d.py": "",
    "data/never.py": "",
    "models/__init__.py": "",
    "models/net.py": "import torch",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(files: set[Path]) -> set[str]:
    return {file.as_posix() for file in files}


def test_everything_that_is_imported_counts_once(root: Path) -> None:
    found = names(closure("data.a", root=root))
    assert found == {f"data/{name}.py" for name in ("__init__", "a", "b", "c", "d")} | {
        "base/__init__.py",
        "base/low.py",
    }


def test_functions_and_modules_that_are_left_out(root: Path) -> None:
    found = names(closure("data.a", root=root, without=["base.low"], passed_over={"data.b": frozenset({"unused"})}))
    assert "data/d.py" not in found
    assert "base/low.py" not in found
    assert "data/c.py" in found


def test_no_such_module(root: Path) -> None:
    with pytest.raises(KeyError, match=r"data\.gone"):
        closure("data.gone", root=root)


def test_a_hash_of_names_and_contents(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = closure("data.a", root=root)
    assert digest(files, root) == digest(sorted(files, reverse=True), root)
    assert digest(files - {Path("data/d.py")}, root) != digest(files, root)
    other = tmp_path_factory.mktemp("other")
    for name, text in FILES.items():
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_text(text + ("# an edit" if name == "data/c.py" else ""))
    assert digest(closure("data.a", root=other), other) != digest(files, root)
