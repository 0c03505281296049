"""Output where the terminal, a pipe or LANG cannot hold every character."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from rich.console import Console
from base.terminal import print_anywhere
print_anywhere()
print("✓ é · \\udcff")
Console(width=60).print("[green]✓[/] done – ○ [dim]nothing[/]")
print("✗ é", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("encoding", "out", "err"),
    [
        ("ascii", "+ ? - ?\n+ done - o nothing\n", "x ?\n"),
        ("latin-1", "+ é · ?\n+ done - o nothing\n", "x é\n"),
        ("utf-8", "✓ é · ?\n✓ done – ○ nothing\n", "✗ é\n"),
        ("ascii:strict", "+ ? - ?\n+ done - o nothing\n", "x ?\n"),
    ],
)
def test_a_plain_character_stands_in(encoding: str, out: str, err: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, check=True)
    name = encoding.partition(":")[0]
    assert (done.stdout.decode(name), done.stderr.decode(name)) == (out, err)
