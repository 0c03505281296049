"""Run the benchmarks one after another and print their results as one table.

    python -m benchmarks                    # all of them (`make bench`)
    python -m benchmarks train_speed        # only these
    python -m benchmarks --list

A benchmark is a module of this folder with a `__main__` part. Its last line on stdout is JSON:

    {"name": "train_speed", "value": 31, "unit": "s", "baseline": 402, "ratio": 0.08, "accept": "<= 0.17", "ok": true}

or, when it does not fit this machine, {"name": "train_speed", "skipped": "needs a GPU"}. The exit status is 1 when one
is not ok, crashes, or takes too long. Nothing else may load the machine meanwhile, so they never run in parallel.
"""

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from base.errors import MetrolineError, exit_with, nearest
from base.parallel import cores

ROOT = Path(__file__).parent.parent
KEYS = ("name", "value", "unit", "baseline", "ratio", "accept", "ok")


def discover(folder: Path) -> list[str]:
    """The names of the benchmarks in `folder`, sorted: its modules that can be run."""
    modules = [path for path in folder.glob("*.py") if not path.name.startswith("_")]
    return sorted(path.stem for path in modules if '__name__ == "__main__"' in path.read_text(encoding="utf-8"))


def choose(wanted: Sequence[str], known: list[str]) -> list[str]:
    """`wanted`, or all that are known when nothing is wanted. Raises MetrolineError for one that is not known."""
    for name in wanted:
        if name not in known:
            raise MetrolineError(f"no benchmark {name!r}", hint=nearest(name, known))
    return list(wanted) or known


def result(name: str, lines: list[str], status: int | None) -> dict[str, Any]:
    """What a finished benchmark says, from its output and exit status (None: it was stopped for taking too long)."""
    failed = {"name": name, "ok": False}
    if status is None:
        return {**failed, "error": "took too long and was stopped"}
    try:
        last = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        last = None
    if isinstance(last, dict) and last.get("skipped") and status == 0:
        return {"name": name, "ok": None, "skipped": str(last["skipped"])}
    missing = [key for key in KEYS if key not in last] if isinstance(last, dict) else []
    if not isinstance(last, dict) or missing:
        why = f"lacks {', '.join(missing)}" if missing else "is not JSON"
        return {**failed, "error": f"exit status {status}, and its last line {why}"}
    if status not in (0, 1) or (last["ok"] is True and status != 0):
        return {**last, "ok": False, "error": f"exit status {status}"}
    return {**last, "ok": last["ok"] is True}


def run(name: str, root: Path, timeout: float) -> dict[str, Any]:
    """Run `python -m benchmarks.NAME` in `root`, passing its output on, for at most `timeout` seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}"],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []
    late = threading.Event()

    def stop() -> None:
        late.set()
        kill(process)

    timer = threading.Timer(timeout, stop)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.strip():
                lines.append(line)
        status = process.wait()
    except BaseException:
        kill(process)
        raise
    finally:
        timer.cancel()
    return result(name, lines, None if late.is_set() else status)


def kill(process: subprocess.Popen[str]) -> None:
    """End a benchmark and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {"processor": model, "cores": cores(), "system": platform.system(), "python": platform.python_version()}


def number(value: Any) -> str:
    """Four significant digits, or the text itself."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def table(results: list[dict[str, Any]]) -> Table:
    """The results, one row each."""
    drawn = Table(title=f"{machine()['processor']}, {machine()['cores']} cores")
    drawn.add_column("benchmark", overflow="fold")
    for column in ("value", "unit", "baseline", "ratio", "accept", "seconds"):
        drawn.add_column(column, justify="right" if column != "unit" else "left")
    drawn.add_column("ok")
    for entry in results:
        ok = {True: "[green]yes[/]", False: "[red]NO[/]", None: "skipped"}[entry["ok"]]
        why = entry.get("error") or entry.get("skipped")
        cells = [number(entry.get(key)) for key in ("value", "unit", "baseline", "ratio", "accept", "seconds")]
        drawn.add_row(entry["name"], *cells, f"{ok}: {why}" if why else ok)
    return drawn


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """The command line. Returns the exit status: 0 when every benchmark that fits this machine is ok."""
    about = "Run the benchmarks, print a table, and exit with 1 when one is not ok."
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=about)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all that fit this machine)")
    parser.add_argument("--list", action="store_true", help="list their names and exit")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS", help="for each one (default: 1800)")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="append each result, with machine and date, to a .jsonl"
    )
    options = parser.parse_args(arguments)
    known = discover(root / "benchmarks")
    if options.list:
        print("\n".join(known))
        return 0
    if not options.timeout > 0:
        raise MetrolineError(f"--timeout {options.timeout:g}: must be above 0 seconds")
    names = choose(options.names, known)
    if not names:
        raise MetrolineError(f"no benchmarks in {root / 'benchmarks'}")
    results = []
    for name in names:
        print(f"── {name}", flush=True)
        started = time.monotonic()
        entry = run(name, root, options.timeout)
        results.append({**entry, "seconds": round(time.monotonic() - started, 1)})
        if options.keep:
            stamp = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "machine": machine()}
            with options.keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**results[-1], **stamp}) + "\n")
    Console(width=None if sys.stdout.isatty() else 160).print(table(results))
    return 1 if any(entry["ok"] is False for entry in results) else 0


if __name__ == "__main__":
    exit_with(main)
