"""What the teacher thinks of each token of the train split: its likeliest tokens with their log-probabilities.

    teacher.safetensors    ids      int32 [tokens, k]: at each place of the train split's row, the likeliest first
                           log_p    float32 [tokens, k]: at the recipe's temperature, over the whole vocabulary

index.json says below `teacher` how they were made (the SHA-256 of the weights, k, temperature, context) and has the
file's SHA-256; both are part of `data_hash`. The same weights and text give the same bytes on the same machine.
Documents stand alone, as where a split is scored (`pipelines.tasks.language_modelling.windows`).
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from base.errors import MetrolineError
from base.files import atomic_path, read_object, sha256, write_json
from base.progress import Progress
from data.text.shards import AGAIN, Shards
from data.text.weights import find
from models.decoder.model import Decoder
from pipelines.tasks.language_modelling.imported import imported
from pipelines.tasks.language_modelling.scoring import split_windows, spread
from pipelines.tasks.language_modelling.windows import Window, batches, tokens_of

if TYPE_CHECKING:
    from pipelines.tasks.distillation.config import DistillationConfig

FILE = "teacher.safetensors"
STRIDE = 0.5
"""Part of a window that is asked about; the rest is context."""
BATCH_TOKENS = 2048
HEAD_TOKENS = 64
"""Tokens whose logits are held at once."""


def ask(first: Path | None, prepared: Path, config: "DistillationConfig") -> None:
    """Ask the teacher in the folder `first` about the train split of a prepared folder, and seal what it says there.

    Raises MetrolineError: no such weights, fewer tokens than k, log-probabilities that are not finite.
    """
    if first is None:
        raise MetrolineError("prepare: the teacher's weights are missing", hint="metroline run RECIPE")
    train = Shards(prepared, "train")
    model = imported(first, train.vocab_size).eval()
    if config.k > train.vocab_size:
        raise MetrolineError(f"task.k: {config.k:,} is more than the tokenizer's {train.vocab_size:,} tokens")
    context = min(config.context, model.config.context)
    shape = (train.total_tokens, config.k)
    said = {"ids": np.zeros(shape, np.int32), "log_p": np.full(shape, -np.inf, np.float32)}
    windows, begins = split_windows(train, context, STRIDE), frozenset(np.asarray(train.offsets).tolist())

    def answers(batch: list[Window]) -> tuple[list[Window], Tensor, Tensor]:
        with torch.inference_mode():
            inputs, targets = (torch.from_numpy(part) for part in tokens_of(batch, train, begins))
            features = model.features(inputs)[targets >= 0]
            return batch, *likeliest(model, features, train.vocab_size, config)

    with Progress("teacher", train.total_tokens - len(train.given), "tokens") as progress:
        for batch, ids, log_p in spread(answers, batches(windows, BATCH_TOKENS), torch.get_num_threads()):
            at = 0
            for window in batch:
                place, part = slice(window.first, window.last), slice(at, at := at + window.last - window.first)
                said["ids"][place], said["log_p"][place] = ids[part].numpy(), log_p[part].numpy()
            progress.update(at)
    asked = np.setdiff1d(np.arange(train.total_tokens), train.given)
    if not np.isfinite(said["log_p"][asked]).all():
        raise MetrolineError("prepare: a log-probability of the teacher is not finite", hint="take other weights")
    about = {"weights": weights_hash(first), "k": config.k, "temperature": config.temperature, "context": context}
    seal(prepared, said, about)


def likeliest(model: Decoder, features: Tensor, vocabulary: int, config: "DistillationConfig") -> tuple[Tensor, Tensor]:
    """Features [N, W] → ids [N, k] and log-probabilities [N, k] of the k likeliest of the tokenizer's tokens."""
    head = model.head_weight[:vocabulary]
    found = [
        torch.log_softmax((part @ head.t()).float() / config.temperature, dim=-1).topk(config.k)
        for part in features.split(HEAD_TOKENS)
    ]
    return torch.cat([each.indices for each in found]).int(), torch.cat([each.values for each in found])


def weights_hash(first: Path) -> str:
    """SHA-256 over the teacher's files of weights."""
    weights = find(first)
    files = [weights] if weights.is_file() else sorted(weights.glob("*.safetensors"))
    return sha256(files[0]) if len(files) == 1 else hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def seal(prepared: Path, said: dict[str, NDArray[Any]], about: dict[str, Any]) -> None:
    """Write the file, and into index.json what it is; the data's hash now covers it too."""
    with atomic_path(prepared / FILE) as temporary:
        save_file(said, temporary)
    index = read_object(prepared / "index.json")
    index["teacher"] = {**about, "sha256": sha256(prepared / FILE)}
    record = index["data_hash"] + json.dumps(index["teacher"], sort_keys=True)
    write_json(prepared / "index.json", index | {"data_hash": hashlib.sha256(record.encode()).hexdigest()})


def read(prepared: Path, config: "DistillationConfig") -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What the teacher said, and how it was made. Raises MetrolineError: missing, damaged, or asked otherwise."""
    about = read_object(prepared / "index.json", hint=AGAIN).get("teacher")
    path = prepared / FILE
    if about is None or not path.is_file():
        raise MetrolineError(f"{path} is missing", hint=AGAIN)
    if sha256(path) != about["sha256"]:
        raise MetrolineError(f"{path}: wrong SHA-256", hint=AGAIN)
    if (about["k"], about["temperature"]) != (config.k, config.temperature):
        raise MetrolineError(
            f"{path} has k {about['k']} and temperature {about['temperature']:g}, the recipe {config.k} and "
            f"{config.temperature:g}",
            hint=AGAIN,
        )
    return load_file(path), about
