"""What benchmarks say and keep, and that those for GPUs start where little is installed."""

import json
import subprocess
import sys

import pytest

from benchmarks.__main__ import ROOT
from benchmarks._report import record, report

BARE = """
import sys

MISSING = {"pydantic", "psutil", "rich", "httpx", "yaml", "tokenizers", "safetensors", "prefect", "typer", "matplotlib"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Missing())
for name in sys.argv[1:]:
    __import__(f"benchmarks.{name}")

from pathlib import Path
from base.files import write_json
write_json(Path("written.json"), {})
"""


def test_each_measurement_is_kept_when_it_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUT", str(tmp_path))
    kept = tmp_path / "benchmarks.jsonl"
    record(gate="M1", ms=1.5)
    assert kept.read_text() == '{"gate": "M1", "ms": 1.5}\n'
    with pytest.raises(SystemExit) as ended:
        report(name="attention", ok=False)
    assert ended.value.code == 1
    assert [json.loads(line) for line in kept.read_text().splitlines()] == [
        {"gate": "M1", "ms": 1.5}, {"name": "attention", "ok": False},
    ]  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1] == '{"name": "attention", "ok": false}'


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OUT", raising=False)
    monkeypatch.chdir(tmp_path)
    record(ms=1)
    assert capsys.readouterr().out.endswith('{"ms": 1}\n')
    assert not list(tmp_path.iterdir())


def test_gpu_benchmarks_need_only_torch_and_triton(tmp_path):
    names = ["attention", "gpt2_step", "linear_cross_entropy", "paged_attention"]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{BARE}", *names],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "written.json").is_file()
