"""Does an adapter's training give the same bytes after it was killed at three random steps?

    python -m benchmarks.adapter_resume [SEED]

Recipe `tiny` is trained, and on its checkpoint an adapter (DoRA, rank 4, 60 steps), twice: once to its end, once with
three SIGKILLs at steps that the seed (printed; random by default) draws. The value is the number of different
adapter_model.safetensors: one is right. The merged model.safetensors are compared too.
"""

import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from base.files import sha256
from benchmarks._report import report, say
from benchmarks._training import ROOT
from benchmarks.reproducibility import KILLS, kill_at
from pipelines.line import stages
from pipelines.paths import Paths
from pipelines.recipe.load import load

FILES = ("adapter/adapter_model.safetensors", "model.safetensors")
TRAIN = {
    "steps": 60, "batch": 8, "sequence": 64, "lr": 0.01, "weight_decay": 0.0, "ema": 0.9, "log_every": 1,
    "evaluate_every": 10, "save_every": 7, "precision": "fp32", "compile": "off",
    "adapter": {"kind": "dora", "rank": 4, "alpha": 8},
}  # fmt: skip


def recipes(root: Path) -> None:
    """`tiny`, and `whole` and `killed`, which begin with it."""
    folder = root / "pipelines/recipes"
    folder.mkdir(parents=True, exist_ok=True)
    tiny = yaml.safe_load((ROOT / "pipelines/recipes/tiny.yaml").read_text(encoding="utf-8"))
    tiny["source"]["path"] = str(ROOT / tiny["source"]["path"])
    tuned = {
        **tiny,
        "pretrained": {"source": {"kind": "recipe", "name": "tiny"}},
        "data": {**tiny["data"], "tokenizer": {"kind": "pretrained"}},
        "model": {},
        "train": TRAIN,
    }
    for name, values in (("tiny", tiny), ("whole", tuned), ("killed", tuned)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def run(root: Path, name: str, names: str) -> Paths:
    """Some stages of one recipe."""
    paths = Paths(name, root)
    for stage in names.split():
        stages.STAGES[stage].function(load(name, root), paths)
    return paths


def main() -> None:
    """Measure, and print the result."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(10**6)
    say(f"seed {seed}")
    with TemporaryDirectory(prefix="metroline-benchmark-") as temporary:
        folder = Path(temporary)
        recipes(folder)
        run(folder, "tiny", "fetch prepare train")
        whole = run(folder, "whole", "fetch base prepare train")
        paths = run(folder, "killed", "fetch base prepare")
        wanted = sorted(random.Random(seed).sample(range(1, TRAIN["steps"]), KILLS))
        killed = [kill_at(paths, step) for step in wanted]
        say(f"killed at steps {', '.join(map(str, killed))} of {TRAIN['steps']}")
        run(folder, "killed", "train")
        hashes = {name: {sha256(each.checkpoint / name) for each in (whole, paths)} for name in FILES}
    for name, found in hashes.items():
        say(f"{name}: {', '.join(sorted(found))}")
    different = max(map(len, hashes.values()))
    report(
        name="adapter_resume", value=different, unit="different adapter_model.safetensors of 2", baseline=1,
        ratio=different, accept="== 1", ok=different == 1 and all(killed), seed=seed, killed_at=killed,
    )  # fmt: skip


if __name__ == "__main__":
    main()
