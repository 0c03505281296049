"""How good the best settings are that `metroline tune` finds, against a plain Optuna script in the same time.

    python -m benchmarks.tune [TRIALS]

Recipe `digits`, judged by the loss on the validation split. The script is what Optuna's own examples write: an
objective that draws the settings, trains the same network on the same decoded train split with AdamW at a cosine rate
(batches of the same size, shuffled), reports the validation loss as often, and is pruned by the same median rule; TPE
with the same seed. It may go on for as long as our trials took. Each in a process of its own, the machine's threads;
three seeds. Ours wins where its best loss is not above the script's.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from base.files import read_json
from base.yaml_files import read_yaml
from benchmarks._report import report, say
from benchmarks._training import ROOT, project, temporary_line

RECIPE, TRIALS, SEEDS = "digits", 24, (1, 2, 3)
SPACE = (
    "train.lr=loguniform(1e-4, 1e-1)",
    "train.weight_decay=loguniform(1e-4, 1)",
    "model.widths=choice([64], [96], [128, 64])",
    "model.dropout=uniform(0, 0.5)",
)


def ours(root: Path, trials: int, seed: int) -> None:
    """Search in `root`; the last line says the best loss, and the seconds of the trials."""
    from pipelines.tuning.search import Options, search, seconds
    from pipelines.tuning.space import parse

    found = search(RECIPE, root, parse(SPACE), Options(trials, 60, "tpe", "median", seed), lambda line: None)
    winner = found.winner.user_attrs["loss"]
    print(json.dumps({"loss": winner, "trials": len(found.study.trials), "seconds": seconds(found.study)}))


def script(root: Path, limit: float, seed: int) -> None:
    """The plain script, for `limit` seconds."""
    import optuna
    import torch
    from torch import nn
    from torch.nn import functional

    from pipelines.tasks.supervised.examples import Examples

    train, valid = (Examples(root / "data/prepared" / RECIPE, split) for split in ("train", "valid"))
    inputs, targets = torch.from_numpy(train.inputs).float(), torch.from_numpy(train.targets)
    seen, truth = torch.from_numpy(valid.inputs).float(), torch.from_numpy(valid.targets)
    mean, std = inputs.mean(0), inputs.std(0).clamp(min=1e-6)
    inputs, seen = (inputs - mean) / std, (seen - mean) / std
    keys = read_yaml(ROOT / f"pipelines/recipes/{RECIPE}.yaml")["train"]
    batch, steps, every = keys["batch"], keys["steps"], keys["evaluate_every"]

    def objective(trial: "optuna.Trial") -> float:
        torch.manual_seed(seed)
        rate = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        decay = trial.suggest_float("weight_decay", 1e-4, 1, log=True)
        widths = json.loads(trial.suggest_categorical("widths", ["[64]", "[96]", "[128, 64]"]))
        drop = trial.suggest_float("dropout", 0, 0.5)
        layers, size = list[nn.Module](), inputs.shape[1]
        for width in widths:
            layers += [nn.Linear(size, width), nn.GELU(), nn.Dropout(drop)]
            size = width
        network = nn.Sequential(*layers, nn.Linear(size, 10))
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.1 * rate)
        best, step = math.inf, 0
        while step < steps:
            for part in torch.randperm(len(inputs)).split(batch)[: steps - step]:
                network.train()
                optimizer.zero_grad()
                functional.cross_entropy(network(inputs[part]), targets[part]).backward()
                optimizer.step()
                schedule.step()
                step += 1
                if step % every == 0:
                    network.eval()
                    with torch.no_grad():
                        loss = float(functional.cross_entropy(network(seen), truth))
                    best = min(best, loss)
                    trial.report(loss, step)
                    if step < steps and trial.should_prune():
                        raise optuna.TrialPruned
        return best

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=every + 1)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    study.optimize(objective, timeout=limit)
    print(json.dumps({"loss": study.best_value, "trials": len(study.trials), "seconds": limit}))


def run(*arguments: str) -> dict[str, Any]:
    """The last line of this module in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.tune", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(trials: int) -> None:
    began, rows = time.monotonic(), []
    with temporary_line(RECIPE) as folder:
        for seed in SEEDS:
            paths = project(folder, f"seed-{seed}", RECIPE)
            recipe = paths.root / f"pipelines/recipes/{RECIPE}.yaml"
            recipe.write_text(json.dumps({**read_json(recipe), "evaluate": {"primary": "log_loss"}}), encoding="utf-8")
            mine = run("ours", str(paths.root), str(trials), str(seed))
            plain = run("script", str(paths.root), str(mine["seconds"]), str(seed))
            rows.append({"seed": seed, "ours": mine, "script": plain})
            say(json.dumps(rows[-1]))
    best = {who: statistics.median(row[who]["loss"] for row in rows) for who in ("ours", "script")}
    ok = best["ours"] <= best["script"]
    report(benchmark="tune", rows=rows, median_best_loss=best, seconds=time.monotonic() - began, ok=ok)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ours", root, count, seed]:
            ours(Path(root), int(count), int(seed))
        case ["script", root, limit, seed]:
            script(Path(root), float(limit), int(seed))
        case rest:
            main(int(rest[0]) if rest else TRIALS)
