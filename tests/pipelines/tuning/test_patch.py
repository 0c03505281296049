"""Values change where they stand; keys that are not there come to their section; nothing else moves."""

import subprocess

import pytest

from base.yaml_files import Loader, yaml
from pipelines.tuning.patch import unified, with_changes
from pipelines.tuning.space import put

TEXT = """# a recipe
model: {kind: mlp, widths: [96], dropout: 0.2}  # small

train:   # how
  lr: 0.004
  # the last one:
  betas:
    - 0.9
    - 0.95  # slow

empty: {}
nothing:
last:
  key: 1"""


@pytest.mark.parametrize(
    "changes",
    [
        {("model", "widths"): [64, 32], ("train", "lr"): 1e-05},
        {("model", "bias"): True, ("train", "eps"): 0.1},
        {("train", "betas"): [0.8, 0.9]},
        {("train", "adapter", "rank"): 4},
        {("empty", "a"): "x: y", ("last", "more"): None, ("last", "key"): "two"},
        {("nothing", "inner"): 3},
    ],
)
def test_reads_as_what_was_asked(changes):
    changed = with_changes(TEXT, changes)
    assert yaml.load(changed, Loader) == put(yaml.load(TEXT, Loader), changes)
    assert changed.startswith("# a recipe\n")
    assert "# small" in changed
    assert "# how" in changed


def test_git_takes_the_patch(tmp_path):
    text = TEXT + "\n"
    (tmp_path / "a.yaml").write_text(text)
    changed = with_changes(text, {("train", "lr"): 0.5})
    subprocess.run(["git", "apply"], input=unified(text, changed, "a.yaml"), text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "a.yaml").read_text() == changed
    assert unified(text, text, "a.yaml") == ""
