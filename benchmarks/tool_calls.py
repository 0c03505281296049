"""How many calls of tools are right, through the endpoint: name and arguments, against the weights before training.

    python -m benchmarks.tool_calls [BUNDLE [BASE]]       # default: the bundles of `tools` and `smollm2`

Asked are the first questions of the test rows of data/examples/tools, with their tools and `tool_choice: auto`,
greedily. An answer is right when it makes the row's calls, no other and in their order, with equal arguments as JSON,
or none where no tool fits. Half of the rows are about tools, and all about values, that no other split has. The base
gets the chat template of the tuned model, since its own shows no tools; a second time it must call (`required`), so
that what it lacks is not the form alone. Accepted: more right than the base in either way.
"""

import gzip
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import openai

from base import manifest
from base.files import read_json
from benchmarks._report import record, report, say
from serving.app.run import start

TRACES = Path("data/examples/tools/traces.jsonl.gz")
MOST_TOKENS = 160
Calls = list[tuple[str, Any]]


def rows() -> list[dict[str, Any]]:
    """The test rows."""
    with gzip.open(TRACES, "rt", encoding="utf-8") as file:
        return [row for line in file if (row := json.loads(line))["split"] == "test"]


def kind_of(row: dict[str, Any]) -> str:
    """What is to be known for it."""
    if not wanted(row):
        return "no tool fits"
    return "a new tool" if row["new_tool"] else "a tool that was learnt"


def wanted(row: dict[str, Any]) -> Calls:
    """The calls of a row's first answer."""
    return [parsed(call["function"]) for call in row["messages"][1].get("tool_calls", ())]


def parsed(function: dict[str, Any]) -> tuple[str, Any]:
    """Name and arguments; arguments that are no JSON are their text, which equals none."""
    try:
        return function["name"], json.loads(function["arguments"])
    except ValueError:
        return function["name"], function["arguments"]


def score(bundle: Path, choice: str) -> dict[str, Any]:
    """Share of right answers, by kind of row."""
    right, asked, began = Counter[str](), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        server = start(bundle, port=0, log=Path(home) / "log", environment={"BENTOML_HOME": home}, tied=True)
        try:
            server.wait_ready(120)
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=300, max_retries=0)
            model = next(iter(client.models.list())).id
            for row in rows():
                answer = client.post("/chat/completions", cast_to=object, body={
                    "model": model, "messages": row["messages"][:1], "tools": row["tools"], "tool_choice": choice,
                    "temperature": 0, "max_tokens": MOST_TOKENS})  # fmt: skip
                (made,) = answer["choices"]  # type: ignore[index]
                calls = [parsed(call["function"]) for call in made["message"].get("tool_calls") or ()]
                asked[kind_of(row)] += 1
                right[kind_of(row)] += calls == wanted(row) and made["finish_reason"] != "length"
        finally:
            server.kill()
    shares = {kind: round(right[kind] / count, 3) for kind, count in sorted(asked.items())}
    total = right.total() / asked.total()
    return {"right": round(total, 4), **shares, "rows": asked.total(), "seconds": round(time.monotonic() - began, 1)}


def with_template(bundle: Path, template: Path, folder: Path) -> Path:
    """A copy of a bundle with another chat template."""
    made = folder / bundle.parent.name
    shutil.copytree(bundle, made)
    shutil.copy(template, made / template.name)
    values = read_json(bundle / manifest.NAME)
    manifest.write(made, {name: value for name, value in values.items() if name not in ("format", "version", "files")})
    return made


def main() -> None:
    """Measure, and say whether the tuned model is better."""
    bundle, base = (
        Path(sys.argv[place]) if len(sys.argv) > place else Path(f"artifacts/{name}/bundle")
        for place, name in ((1, "tools"), (2, "smollm2"))
    )
    tuned = score(bundle, "auto")
    record(model=str(bundle), choice="auto", **tuned)
    if not base.is_dir():
        say(f"{base} is not there: nothing to compare with")
        report(ok=False, value=tuned["right"], baseline=None)
    with tempfile.TemporaryDirectory() as folder:
        before = with_template(base, bundle / "chat_template.jinja", Path(folder))
        scores = {choice: score(before, choice) for choice in ("auto", "required")}
    for choice, found in scores.items():
        record(model=str(base), choice=choice, **found)
    best = max(found["right"] for found in scores.values())
    report(ok=tuned["right"] > best, value=tuned["right"], baseline=best)


if __name__ == "__main__":
    main()
