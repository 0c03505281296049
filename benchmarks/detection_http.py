"""Boxes of recipe `bccd` through HTTP beside those of the trained network: as many on every test image; their mAP50.

    metroline run bccd
    python -m benchmarks.detection_http           # needs pycocotools

Each test image is sent as it was fetched, in its own size. The network is the checkpoint in PyTorch, given the same
bytes by prepare's own way. Value: mAP50 of the boxes that came through HTTP; baseline: that in metrics.json. Accepted:
equal counts of boxes on all images at the threshold of the answer, mAP50 within 0.002 and at least 0.70. How many
counts differ at the graph's own, much lower threshold is said too: where resizing rounds a grey level otherwise, a box
that is hardly one may come or go.
"""

import base64
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from base.files import read_json
from benchmarks._report import report, say
from data.boxes import SCORE, rows_of
from data.signature import BoxesOutput, Signature
from pipelines.paths import Paths
from pipelines.recipe.load import load as load_recipe
from pipelines.tasks.detection.boxed import Boxed
from pipelines.tasks.detection.network import Answers, load
from pipelines.tasks.detection.scores import average_precision
from serving.app.run import start

RECIPE = "bccd"


def main() -> None:
    """Measure, and print the result."""
    paths = Paths(RECIPE)
    if find_spec("pycocotools") is None or not (paths.bundle / "manifest.json").is_file():
        reason = "needs pycocotools and a bundle: pip install pycocotools; metroline run bccd"
        print(json.dumps({"name": "detection_http", "skipped": reason}))
        return
    test, recipe = Boxed(paths.prepared, "test"), load_recipe(RECIPE)
    (output,) = Signature.load(paths.bundle / "signature.json").outputs
    assert isinstance(output, BoxesOutput)
    network = Answers(load(recipe.model, test.index, paths.checkpoint), output).eval()
    with torch.no_grad():
        own = [network(torch.from_numpy(image[None]))[0].numpy() for image in test.inputs]
    sizes = [test.size(number) for number in range(len(test))]
    with tempfile.TemporaryDirectory() as folder, start(paths.bundle, port=0, log=Path(folder) / "log") as server:
        server.wait_ready()
        address = f"{server.url}/v1/models/{RECIPE}/predict"

        def ask(number: int, **parameters: Any) -> list[dict[str, Any]]:
            body = {"inputs": base64.b64encode(test.raw(number)[0]).decode(), "parameters": parameters}
            answer = httpx.post(address, json=body, timeout=60, trust_env=False)
            answer.raise_for_status()
            found: list[dict[str, Any]] = answer.json()
            return found

        usual = [ask(number) for number in range(len(test))]
        every = [ask(number, threshold=output.least) for number in range(len(test))]
    differ = sum(
        len(one) != int((rows[:, SCORE] >= output.threshold).sum()) for one, rows in zip(usual, own, strict=True)
    )
    below = sum(len(one) != int((rows[:, SCORE] > 0).sum()) for one, rows in zip(every, own, strict=True))
    say(
        f"{sum(map(len, usual))} boxes on {len(test)} images; counts differ on {differ}, at {output.least:g} on {below}"
    )
    given = []
    for answer, (height, width) in zip(every, sizes, strict=True):
        given.append(rows_of(output, answer) / np.array([width, height, width, height, 1, 1]))
    values, _ = average_precision(given, test.boxes, sizes, len(output.labels))
    measured = read_json(paths.metrics)["test"]["map50"]
    report(
        name="detection_http",
        value=round(values["map50"], 4),
        unit="mAP50",
        baseline=round(measured, 4),
        ratio=round(values["map50"] / measured, 4),
        accept="equal counts on all images; mAP50 within 0.002 and >= 0.70",
        ok=not differ and abs(values["map50"] - measured) <= 0.002 and values["map50"] >= 0.70,
        images=len(test),
        boxes=sum(map(len, usual)),
        differ=differ,
        differ_at_least=below,
    )


if __name__ == "__main__":
    main()
