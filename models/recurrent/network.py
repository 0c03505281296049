"""Recurrent networks: a plain cell (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014).

Weights and gates are laid out as in torch.nn.RNN, LSTM and GRU. Training runs all documents of a batch side by side,
the longest first, so that each step is one product for all that are that long (as PyTorch's packed sequences are).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.common.activations import ACTIVATIONS
from models.common.stateful import StatefulModel
from models.recurrent.config import Config


class Cell(nn.Module):
    """One layer's step: its input's share [B, G·H] and the state, parts of [B, H] each → the state after it."""

    gates, parts = 1, 1

    def __init__(self, inputs: int, hidden: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.hidden, self.activation = hidden, activation
        self.input_proj = nn.Linear(inputs, self.gates * hidden)
        self.state_proj = nn.Linear(hidden, self.gates * hidden, bias=False)

    def forward(self, share: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
        """The plain cell: h' = tanh(W x + U h + b)."""
        return [self.activation(share + self.state_proj(state[0]))]


class LstmCell(Cell):
    """State (h, c); gates: input, forget, candidate, output."""

    gates, parts = 4, 2

    def forward(self, share: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
        """See `Cell`."""
        i, f, g, o = (share + self.state_proj(state[0])).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]


class GruCell(Cell):
    """State h; gates: reset, update, candidate. The reset gate is inside the candidate's product, as PyTorch has it."""

    gates = 3

    def __init__(self, inputs: int, hidden: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__(inputs, hidden, activation)
        self.candidate_bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, share: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
        """See `Cell`."""
        xr, xz, xn = share.chunk(3, -1)
        hr, hz, hn = self.state_proj(state[0]).chunk(3, -1)
        z = torch.sigmoid(xz + hz)
        n = torch.tanh(xn + torch.sigmoid(xr + hr) * (hn + self.candidate_bias))
        return [n + z * (state[0] - n)]


CELLS = {"rnn": Cell, "lstm": LstmCell, "gru": GruCell}


class Network(StatefulModel):
    """Token ids → layers of cells → logits. `generator` draws the first weights."""

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        kind, activation = CELLS[config.cell], ACTIVATIONS[config.activation]
        widths = [config.width, *[config.hidden] * (config.layers - 1)]
        self.layers = nn.ModuleList(kind(width, config.hidden, activation) for width in widths)
        self.lm_head = nn.Linear(config.hidden, config.vocab_size, bias=False)
        if generator is not None:
            self.initialise(generator)

    @property
    def cells(self) -> list[Cell]:
        """The layers, typed."""
        return [layer for layer in self.layers if isinstance(layer, Cell)]

    def features(self, tokens: Tensor, *, cu_seqlens: Tensor | None = None, seed: Tensor | None = None) -> Tensor:
        """See `StatefulModel`."""
        batch, length = tokens.shape
        if cu_seqlens is None:
            cu_seqlens = torch.arange(0, batch * length + 1, length, device=tokens.device)
        order, sizes = by_time(cu_seqlens)
        x = self.drop(self.embed_tokens(tokens.flatten()[order]), seed, 0)
        for site, cell in enumerate(self.cells, start=1):
            state = [x.new_zeros(sizes[0], cell.hidden)] * cell.parts
            outputs = []
            for share in cell.input_proj(x).split(sizes):
                state = cell(share, [part[: len(share)] for part in state])
                outputs.append(state[0])
            x = self.drop(torch.cat(outputs), seed, site)
        return x[order.argsort()].view(batch, length, -1)

    def step(self, tokens: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See `StatefulModel`."""
        x, after, begin = self.embed_tokens(tokens), [], 0
        for cell in self.cells:
            after += (new := cell(cell.input_proj(x), state[begin : begin + cell.parts]))
            x, begin = new[0], begin + cell.parts
        return x, after

    def initial_state(self, batch: int) -> list[Tensor]:
        """h of each layer; of an LSTM h and c."""
        return [torch.zeros(batch, cell.hidden) for cell in self.cells for _ in range(cell.parts)]


def by_time(cu_seqlens: Tensor) -> tuple[Tensor, list[int]]:
    """Documents laid end to end → the order of their tokens by place in the document, and how many have each place.

    `cu_seqlens`: [N + 1], as `StatefulModel.features` has it. Returns int64 [tokens] and [longest document]; among the
    tokens of one place those of longer documents come first, so each next place's documents are the first of these.
    """
    lengths, ranks = cu_seqlens.long().diff().sort(descending=True, stable=True)
    places = torch.arange(int(lengths[0]), device=cu_seqlens.device).unsqueeze(1)
    there = places < lengths  # [longest, N]
    return (cu_seqlens[:-1].long()[ranks] + places)[there], there.sum(1).tolist()
