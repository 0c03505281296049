"""`python -m benchmarks`: what it makes of benchmarks that pass, fail, crash, hang, or do not fit the machine."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from base.errors import MetrolineError
from benchmarks.__main__ import ROOT, choose, discover, main, result

GOOD = {"name": "good", "value": 2.0, "unit": "s", "baseline": 8.0, "ratio": 0.25, "accept": "<= 0.5", "ok": True}


@pytest.fixture
def project(tmp_path: Path):
    """A function that writes a benchmark into an otherwise empty project."""
    (tmp_path / "benchmarks").mkdir()

    def write(name: str, body: str) -> Path:
        text = f'if __name__ == "__main__":\n    {body}\n'
        (tmp_path / "benchmarks" / f"{name}.py").write_text(text)
        return tmp_path

    return write


def says(**changes: object) -> str:
    return f"print('working'); print({json.dumps({**GOOD, **changes})!r})"


def test_all_pass(project, capfd):
    project("good", says())
    root = project("better", says(name="better"))
    assert main([], root) == 0
    output = capfd.readouterr().out
    assert "better" in output
    assert "0.25" in output
    assert "working" in output


def test_one_is_not_ok(project, capfd):
    project("good", says())
    root = project("bad", says(name="bad", ok=False, ratio=0.9) + "; raise SystemExit(1)")
    assert main([], root) == 1
    assert "NO" in capfd.readouterr().out
    assert main(["good"], root) == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('no such file')", "is not JSON"),
        ("print('done')", "is not JSON"),
        ("pass", "is not JSON"),
        ('print(\'{"name": "x", "value": 1, "ok": true}\')', "lacks unit, baseline, ratio, accept"),
        ("print('[1]')", "is not JSON"),
        (says() + "; raise SystemExit(3)", "exit status 3"),
    ],
)
def test_a_broken_one_fails_and_the_next_still_runs(project, capfd, body, reason):
    project("a_broken", body)
    root = project("b_good", says(name="b_good"))
    assert main([], root) == 1
    output = capfd.readouterr().out
    assert reason in output
    assert "b_good" in output.split("┃")[-1]


def test_one_that_does_not_fit_is_no_failure(project, capfd):
    root = project("gpu", 'print(\'{"name": "gpu", "skipped": "needs a GPU"}\')')
    assert main([], root) == 0
    assert "needs a GPU" in capfd.readouterr().out


def test_a_crash_cannot_pass_as_a_skip():
    assert result("gpu", ['{"skipped": "needs a GPU"}'], 1)["ok"] is False


def test_one_that_hangs_is_stopped_with_its_children(project, tmp_path, capfd):
    child = "import subprocess; p = subprocess.Popen(['sleep', '60'])"
    root = project("hangs", f"{child}; open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); p.wait()")
    started = time.monotonic()
    assert main(["--timeout", "1.5"], root) == 1
    assert time.monotonic() - started < 20
    assert "took too long" in capfd.readouterr().out
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_results_are_kept_with_machine_and_date(project, tmp_path):
    root = project("good", says())
    kept = tmp_path / "results.jsonl"
    main(["--keep", str(kept)], root)
    main(["--keep", str(kept)], root)
    first, _second = (json.loads(line) for line in kept.read_text().splitlines())
    assert first["ratio"] == 0.25
    assert first["machine"]["cores"] >= 1
    assert first["date"].startswith("20")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["god"], "did you mean good"),
        (["--timeout", "0"], "above 0"),
        (["--timeout", "-1"], "above 0"),
        (["--timeout", "nan"], "above 0"),
    ],
)
def test_bad_arguments(project, arguments, message):
    root = project("good", says())
    with pytest.raises(MetrolineError, match=message):
        main(arguments, root)


def test_no_benchmarks(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    with pytest.raises(MetrolineError, match="no benchmarks"):
        main([], tmp_path)


def test_helpers_are_not_benchmarks(project):
    root = project("good", says())
    (root / "benchmarks/shared.py").write_text("x = 1\n")
    (root / "benchmarks/__main__.py").write_text('if __name__ == "__main__":\n    pass\n')
    assert discover(root / "benchmarks") == ["good"]


def test_choose_keeps_the_order_asked_for():
    assert choose(["b", "a"], ["a", "b", "c"]) == ["b", "a"]
    assert choose([], ["a", "b"]) == ["a", "b"]


def test_command_line_says_an_error_in_one_line():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "nonsense"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no benchmark 'nonsense'")
    assert done.stderr.count("\n") == 1
