"""How raw arrays enter a network: standardised by constants that prepare fitted on the train split, kept as buffers.

So they are in the checkpoint's hash and inside every exported graph, and nobody who serves it can get them wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.signature import Column, Signature
from models.common.sound import SoundEntry

MOST = 16  # numbers that a category is embedded as


class TableEntry(nn.Module):
    """float32 [B, columns] with NaN and codes → float32 [B, width]: standardised numbers, their place among the
    quantiles of train (Gorishniy et al. 2022, arXiv:2203.05556), flags of missing ones, embedded categories.
    """

    mean: Tensor
    std: Tensor
    edges: Tensor

    def __init__(self, columns: Sequence[Column], fitted: Mapping[str, Any], generator: torch.Generator) -> None:
        super().__init__()
        self.numbers = [i for i, column in enumerate(columns) if column.kind == "number"]
        self.codes = [i for i, column in enumerate(columns) if column.kind == "category"]
        self.register_buffer("mean", torch.tensor(fitted["mean"], dtype=torch.float32))
        self.register_buffer("std", torch.tensor(fitted["std"], dtype=torch.float32))
        edges = torch.tensor(fitted["edges"], dtype=torch.float32).reshape(len(self.numbers), -1)  # [N, bins + 1]
        self.register_buffer("edges", edges)
        tables = []
        for i in self.codes:
            count = len(columns[i].categories) + 1
            table = nn.Embedding(count, min(MOST, (count + 1) // 2))
            nn.init.normal_(table.weight, std=0.3, generator=generator)
            tables.append(table)
        self.embeddings = nn.ModuleList(tables)
        bins = max(0, edges.shape[1] - 1)
        self.width = len(self.numbers) * (2 + bins) + sum(table.embedding_dim for table in tables)

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        parts = []
        if self.numbers:
            values = rows[:, self.numbers]
            missing = torch.isnan(values)
            values = torch.where(missing, self.mean, values)
            parts += [((values - self.mean) / self.std).clamp(-8, 8), missing.to(rows.dtype)]
            if self.edges.shape[1] > 1:
                low, high = self.edges[:, :-1], self.edges[:, 1:]
                places = (values.unsqueeze(2) - low) / (high - low).clamp(min=1e-12)  # [B, N, bins]
                parts.append(places.clamp(0, 1).flatten(1))
        for i, table in zip(self.codes, self.embeddings, strict=True):
            parts.append(table(rows[:, i].to(torch.int64)))
        return torch.cat(parts, 1)


class ImageEntry(nn.Module):
    """uint8 [B, H, W, C] → float32 [B, C, H, W], each channel with mean 0 and standard deviation 1 over train."""

    mean: Tensor
    std: Tensor

    def __init__(self, fitted: Mapping[str, Any]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(fitted["mean"], dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(fitted["std"], dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return (pixels.to(torch.float32).permute(0, 3, 1, 2) - self.mean) / self.std


class TextEntry(nn.Module):
    """int64 [B, S] with zeros behind each text → [B, S + frame]: what the tokenizer puts before and behind a text."""

    before: Tensor
    after: Tensor

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("before", torch.tensor(before, dtype=torch.int64), persistent=False)
        self.register_buffer("after", torch.tensor(after, dtype=torch.int64), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        rows = tokens.shape[0]
        parts = [self.before.expand(rows, -1), tokens, torch.zeros_like(self.after).expand(rows, -1)]
        framed = torch.cat(parts, 1)
        end = (framed != 0).sum(1, keepdim=True)  # [B, 1]
        places = torch.arange(framed.shape[1], device=tokens.device)
        for i in range(self.after.shape[0]):
            framed = torch.where(places == end + i, self.after[i], framed)
        return framed


def entry(
    signature: Signature, fitted: Mapping[str, Any], generator: torch.Generator
) -> tuple[nn.Module, tuple[int, ...]]:
    """The entry for a signature's one input, and the shape of an item behind it: [width], [C, H, W], of sound [1, mels,
    frames] or, of token ids, [length, vocabulary].
    """
    first = signature.inputs[0]
    if first.kind == "table":
        table = TableEntry(first.columns, fitted, generator)
        return table, (table.width,)
    if first.kind == "image":
        return ImageEntry(fitted), (first.channels, first.height, first.width)
    if first.kind == "audio":
        sound = SoundEntry(first.rate, fitted)
        return sound, sound.shape
    if first.kind == "text":
        before, after = fitted.get("frame", ((), ()))
        text = TextEntry(before, after) if before or after else nn.Identity()
        return text, (first.length + len(before) + len(after), int(fitted["vocabulary"]))
    raise ValueError(f"no entry for {first.kind}")
