"""How long from the first drifted request until a release that knows such requests answers, without a hand?

    python -m benchmarks.drift_loop [CLIENTS]        # default: 8

In a copy of the project: `metroline run tiny`, then `metroline serve`, `metroline watch`, Prometheus and Alertmanager
as real programs. Clients ask in English, as the messages are that tiny learns; then all of them ask in Greek, of which
a file has come into its folder of data. The alert fires, a run pins the folder, trains and releases, and the endpoint
takes the release over. Shortened by configuration: Prometheus looks every second, the alert waits 5 s instead of half
an hour, Alertmanager 1 s instead of 30 s. Value: seconds from the first Greek request until the new release answers; no
request may be lost, and the drift of the same traffic must be gone.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import yaml

from base.processes import free_port
from benchmarks._report import report, say
from benchmarks._traffic import Traffic
from benchmarks._training import ROOT
from serving.monitoring.promql import ALERTS, limit
from serving.monitoring.stack import Receiver, Stack

WANTED, ALERT = 300.0, "MetrolineDrift"
PARTS = (".dvc/config", ".dvcignore", "base", "data", "dvc.yaml", "kernels", "models", "params.yaml", "pipelines",
         "prefect.yaml", "pyproject.toml", "serving")  # fmt: skip
MADE = {"raw", "prepared", "collected", "__pycache__"}
NEW = "data/examples/speeches/2031-Boule.txt"
WORDS = ["και", "να", "το", "τα", "με", "για", "από", "θα", "δεν", "στο", "στη", "την", "τον", "τις", "του", "της",
         "των", "που", "πως", "μια", "ένα", "δύο", "πιο", "ναι", "όχι", "εδώ", "ήδη", "σας", "μας", "πια"]  # fmt: skip
"""Short ones: to the first model, whose context has 64 tokens, each letter is two tokens."""


def copy(folder: Path) -> Path:
    """The project as a clone would have it."""
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=lambda _, names: MADE.intersection(names))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """That nothing of this project or of another server is set."""
    drop = ("PREFECT_", "METROLINE_", "BENTOML_", "DVC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return kept | {"PYTHONPATH": str(folder), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


def until(find: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `find` finds. Raises RuntimeError when that is nothing for so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := find():
                return found
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"no {what} after {seconds:g} s")


@contextmanager
def metroline(folder: Path, *arguments: str) -> Iterator[Path]:
    """A command of the project that runs until Ctrl-C; yields its log."""
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "pipelines.commands.cli", *arguments]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def english(folder: Path) -> Callable[[], dict[str, Any]]:
    """Requests as the text that the model knows, a few words each: its context has 64 tokens."""
    files = sorted((folder / "data/examples/speeches").glob("*.txt"))
    known = " ".join(file.read_text(encoding="utf-8") for file in files).split()
    draw = random.Random(1)

    def body() -> dict[str, Any]:
        start = draw.randrange(len(known) - 12)
        return asked(" ".join(known[start : start + 12])[:70])

    return body


def greek(seed: int) -> Callable[[], dict[str, Any]]:
    """Requests in another language, no two alike."""
    draw = random.Random(seed)
    return lambda: asked(paragraph(draw, 9))


def asked(prompt: str) -> dict[str, Any]:
    """The JSON of a request."""
    return {"prompt": prompt, "max_tokens": 1, "model": "tiny"}


def paragraph(draw: random.Random, words: int) -> str:
    """Greek words in no order."""
    return " ".join(draw.choices(WORDS, k=words))


def write_news(folder: Path) -> None:
    """What has come since: a file of Greek paragraphs."""
    draw = random.Random(2)
    (folder / NEW).write_text("\n\n".join(paragraph(draw, 40) for _ in range(150)) + "\n", encoding="utf-8")


def quick_rules(folder: Path) -> Path:
    """alerts.yml with an alert of drift that waits 5 s."""
    document = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    for rule in [rule for group in document["groups"] for rule in group["rules"]]:
        if rule.get("alert") == ALERT:
            rule["for"] = "5s"
    path = folder / "alerts.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def loop(folder: Path, clients: int, tell: Callable[[str], None] = say) -> dict[str, Any]:
    """Drive the loop once in a project whose recipe tiny is released. Returns what was measured."""
    port, watch = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        stack.enter_context(metroline(folder, "serve", "tiny", "--port", str(port)))
        options = ["--port", str(watch), "--prefect-port", str(free_port())]
        log = stack.enter_context(metroline(folder, "watch", "tiny", *options))
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200, 120, "endpoint")
        until(lambda: "/alerts" in log.read_text(), 120, "receiver")
        receiver = Receiver(f"http://127.0.0.1:{watch}", folder / ".metroline/watch/key")
        monitoring = stack.enter_context(
            Stack(url, folder / "artifacts", folder / "prometheus", seconds=1, receiver=receiver,
                  rules=quick_rules(folder))
        )  # fmt: skip
        prometheus = monitoring.prometheus

        def score() -> float:
            found = prometheus.query(f'metroline_drift_score{{version="{version(url)}"}}')
            return max((series.points[0][1] for series in found), default=0.0)

        def firing() -> bool:
            return bool(prometheus.query(f'ALERTS{{alertname="{ALERT}", alertstate="firing"}}'))

        first, bound = version(url), limit(ALERT)
        with Traffic(url, "/v1/completions", clients, english(folder), pause=0.2) as traffic:
            before = float(until(score, 60, "drift score"))
            tell(f"release {first}: drift of English {before:.2f}, of which {bound:g} is an alert")
            write_news(folder)
            traffic.body, began = greek(seed=3), time.monotonic()
            until(firing, 120, "alert")
            fired, during = time.monotonic() - began, score()
            tell(f"the alert fires after {fired:.0f} s at {during:.2f}")
            until(lambda: "→ started" in log.read_text(), 60, "run")
            second = until(lambda: version(url) != first and version(url), 900, "new release")
            took = time.monotonic() - began
            tell(f"release {second} answers after {took:.0f} s")
            after = float(until(score, 60, "drift score of the new release"))
            time.sleep(5)
            after = max(after, score())
            until(lambda: not firing(), 60, "end of the alert")
            tell(f"drift of the same traffic {after:.2f}; the alert is over")
    return {
        "seconds": round(took, 1), "alert_seconds": round(fired, 1), "requests": len(traffic.sent.seconds),
        "lost": len(traffic.sent.lost), "why_lost": traffic.sent.lost[:3], "drift_before": round(before, 2),
        "drift_at_alert": round(during, 2), "drift_after": round(after, 2), "bound": bound,
        "run": next(line for line in log.read_text().splitlines() if "→ started" in line),
    }  # fmt: skip


def version(url: str) -> str:
    """Which release answers."""
    return str(httpx.get(f"{url}/v1/models", trust_env=False, timeout=10).json()["data"][0]["version"])


def main(clients: int) -> None:
    with TemporaryDirectory(prefix="metroline-loop-") as temporary:
        folder = copy(Path(temporary) / "project")
        say("metroline run tiny")
        command = [sys.executable, "-m", "pipelines.commands.cli", "run", "tiny"]
        subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True)
        found = loop(folder, clients)
    ok = found["seconds"] <= WANTED and not found["lost"] and found["drift_after"] < found["bound"]
    report(benchmark="drift_loop", recipe="tiny", clients=clients, wanted=WANTED, **found, ok=ok)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
