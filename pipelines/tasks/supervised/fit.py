"""What is fitted on the train split and nothing else: columns, scales, quantiles, means of pixels, the tokenizer.

The numbers go into index.json below `fitted`; the network keeps them as buffers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import normalizers

from base.errors import MetrolineError
from data.codecs import decode
from data.signature import AudioInput, ImageInput, Input, TableInput, TextInput
from data.tables import columns as table_columns
from data.tables.codec import plain_row
from data.tables.rows import Row
from data.text import tokenizer as tokenizers
from data.text import weights
from pipelines.tasks.supervised.config import AudioData, ImagesData, TableData
from pipelines.tasks.supervised.examples import resized
from pipelines.tasks.supervised.read import Data, Item


def fit(
    data: Data, train: Sequence[Item], folder: Path, pretrained: Path | None = None
) -> tuple[Input, dict[str, Any]]:
    """The signature's input and the fitted numbers; a tokenizer goes into `folder`: of the first weights, whose files
    are in `pretrained`, or fitted."""
    if isinstance(data, TableData):
        return _table(data, train)
    if isinstance(data, ImagesData):
        return _images(data, train)
    if isinstance(data, AudioData):
        return _sounds(data, train)
    declared = TextInput(name="text", shape=(-1,), length=data.length)
    if data.tokenizer.kind == "pretrained":
        return declared, tokenizer_of_others(pretrained, folder)
    lower = (lambda text: text.lower()) if data.lowercase else (lambda text: text)
    made = tokenizers.train((lower(item.raw.decode()) for item in train), data.tokenizer)
    if data.lowercase:
        made.inner.normalizer = normalizers.Lowercase()
    tokenizers.save(made, folder / "tokenizer.json")
    return declared, {"vocabulary": made.vocab_size}


def tokenizer_of_others(pretrained: Path | None, folder: Path) -> dict[str, Any]:
    """What prepare fits of a text whose tokenizer comes with the first weights, in `pretrained`; it goes into `folder`.

    Raises MetrolineError: nothing fetched, no tokenizer among it, or one whose token 0 is a part of texts."""
    if pretrained is None or not pretrained.is_dir():
        raise MetrolineError("no pretrained weights, whose tokenizer is needed", hint="metroline stage fetch RECIPE")
    path = weights.read(weights.find(pretrained)).save(folder)
    made = tokenizers.Tokenizer.load(path)
    if (first := made.inner.get_added_tokens_decoder().get(0)) is None or not first.special:
        raise MetrolineError(
            f"{path.name}: its token 0 ({made.spell(0)!r}) is a part of texts, and rows of text are padded with 0",
            hint="take weights whose token 0 is special, as [PAD] and <pad> are",
        )
    frame = [list(made.first), list(made.last)]
    return {"vocabulary": made.vocab_size, **({"frame": frame} if any(frame) else {})}


def raw_of(declared: Input, item: Item) -> bytes:
    """An item's input as a client would send it."""
    if not isinstance(declared, TableInput):
        return item.raw
    return json.dumps(plain_row(declared.columns, item.row), ensure_ascii=False).encode()


def _table(data: TableData, train: Sequence[Item]) -> tuple[Input, dict[str, Any]]:
    names = list(train[0].row)
    columns = table_columns.fit((Row(item.id, dict(item.row)) for item in train), names, data.kinds)
    declared = TableInput(name="row", shape=(len(columns),), columns=columns)
    rows = np.stack([decode(declared, raw_of(declared, item)) for item in train]).astype(np.float64)
    numbers = rows[:, [i for i, column in enumerate(columns) if column.kind == "number"]]
    return declared, _scales(numbers, data.bins)


def _scales(numbers: np.ndarray, bins: int) -> dict[str, Any]:
    """Mean, spread and quantiles of each column of [rows, columns] with NaN; a constant one has spread 1."""
    if not numbers.shape[1]:
        return {"mean": [], "std": [], "edges": []}
    std = np.nanstd(numbers, 0)
    edges = np.nanquantile(numbers, np.linspace(0, 1, bins + 1), axis=0).T if bins else np.zeros((numbers.shape[1], 0))
    return {
        "mean": np.nanmean(numbers, 0).tolist(),
        "std": np.where(std > 1e-9, std, 1.0).tolist(),
        "edges": edges.tolist(),
    }


def _images(data: ImagesData, train: Sequence[Item]) -> tuple[Input, dict[str, Any]]:
    declared = ImageInput(
        name="image",
        shape=(data.height, data.width, data.channels),
        height=data.height,
        width=data.width,
        channels=data.channels,
    )
    if data.mean:
        repeat = data.channels // len(data.mean)
        return declared, {"mean": list(data.mean) * repeat, "std": list(data.std) * repeat}
    total, squares, count = np.zeros(data.channels), np.zeros(data.channels), 0
    for item in train:
        pixels = resized(declared, [decode(declared, item.raw)])[0].astype(np.float64)
        total, squares = total + pixels.sum((0, 1)), squares + (pixels**2).sum((0, 1))
        count += pixels.shape[0] * pixels.shape[1]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return declared, {"mean": mean.tolist(), "std": np.where(std > 1e-6, std, 1.0).tolist()}


def _sounds(data: AudioData, train: Sequence[Item]) -> tuple[Input, dict[str, Any]]:
    """Mean and spread of each band of the log-mel spectrogram, by the module that is in the graph."""
    import torch

    from models.common.sound import LogMel

    declared = AudioInput(name="sound", shape=(-1,), rate=data.rate, seconds=data.seconds)
    samples = round(data.window * data.rate)
    log_mel = LogMel(data.rate, samples, data.mels).double()
    total, squares, count = np.zeros(data.mels), np.zeros(data.mels), 0
    for item in train:
        bands = log_mel(torch.from_numpy(decode(declared, item.raw)).double()[None])[0].numpy()
        total, squares, count = total + bands.sum(1), squares + (bands**2).sum(1), count + bands.shape[1]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return declared, {"samples": samples, "mean": mean.tolist(), "std": np.where(std > 1e-6, std, 1.0).tolist()}


def spread_of(targets: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation of a regression's targets."""
    values = np.asarray(targets, np.float64)
    return {"target_mean": [float(values.mean())], "target_std": [float(values.std()) or 1.0]}
