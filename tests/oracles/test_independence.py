"""An oracle proves something only while it shares nothing with what it is held against."""

import ast
from pathlib import Path

import pytest

ORACLES = ["activations", "attention", "layers", "losses", "norms", "optimizers", "recurrent", "finite_differences"]


@pytest.mark.parametrize("name", ORACLES)
def test_an_oracle_imports_numpy_and_nothing_of_torch_or_ours(name):
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    allowed = {"numpy", "numpy.typing", "math", "collections.abc", "typing", "tests.oracles.activations"}
    assert found <= allowed
