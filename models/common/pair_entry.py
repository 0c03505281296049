"""How two texts enter a network as one row: what BERT's tokenizers make of a pair, inside the exported graph."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PairEntry(nn.Module):
    """Token ids int64 [B, S] and [B, T], zeros behind each text → ids, types and sides int64 [B, S + T + frame].

    `before` stands before the first text, `after` behind each of the two: [CLS] first [SEP] second [SEP], with type 1
    from the second text on (Devlin et al. 2019). No zero stands between the two. A token's side is 1 or 2, that of the
    text it is of; 0: of neither.
    """

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        super().__init__()
        self.before, self.after = tuple(before), tuple(after)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        rows, begin, end = first.shape[0], len(self.before), len(self.after)
        there = [(each != 0).sum(1, keepdim=True) for each in (first, second)]  # [B, 1] each
        size = begin + first.shape[1] + second.shape[1] + 2 * end
        at = torch.arange(size, device=first.device).expand(rows, -1)
        turn = begin + there[0] + end  # where the second text begins
        framed = torch.where(at < turn, _taken(first, at - begin), _taken(second, at - turn))
        for place, token in enumerate(self.before):
            framed = torch.where(at == place, token, framed)
        for number, token in enumerate(self.after):
            for where in (begin + there[0] + number, turn + there[1] + number):
                framed = torch.where(at == where, token, framed)
        types = ((at >= turn) & (at < turn + there[1] + end)).to(torch.int64)
        first_side = (at >= begin) & (at < begin + there[0])
        return framed, types, first_side + 2 * types * (at < turn + there[1])


def _taken(tokens: Tensor, at: Tensor) -> Tensor:
    """The tokens at these places, 0 outside."""
    inside = (at >= 0) & (at < tokens.shape[1])
    return torch.where(inside, tokens.gather(1, at.clamp(0, tokens.shape[1] - 1)), 0)
