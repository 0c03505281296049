"""Which chats share a row: best fit, so that little of a row is padding. A function of lengths and seed alone."""

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np


def pack(lengths: Sequence[int], room: int, seed: int) -> list[list[int]]:
    """Rows of places in `lengths`, each adding up to at most `room`: best fit, the longest first; chats of one length
    in an order that `seed` draws. Raises ValueError for one that is longer than a row.
    """
    if (longest := max(lengths, default=0)) > room:
        raise ValueError(f"pack: a length of {longest} in rows of {room}")
    drawn = np.random.Generator(np.random.Philox(key=[seed, len(lengths)])).permutation(len(lengths))
    rows: list[list[int]] = []
    left: dict[int, list[int]] = {}  # room → rows that have it
    rooms: list[int] = []  # the keys of `left`, sorted
    for place in sorted(drawn.tolist(), key=lambda place: -lengths[place]):
        at = bisect_left(rooms, lengths[place])
        if at == len(rooms):
            row, free = len(rows), room
            rows.append([])
        else:
            free = rooms[at]
            row = left[free].pop()
            if not left[free]:
                del left[free], rooms[at]
        rows[row].append(place)
        if free := free - lengths[place]:
            if free not in left:
                insort(rooms, free)
            left.setdefault(free, []).append(row)
    return rows


def alone(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Rows of one chat each, in order. Raises ValueError for one that is longer than a row."""
    if (longest := max(lengths, default=0)) > room:
        raise ValueError(f"alone: a length of {longest} in rows of {room}")
    return [[place] for place in range(len(lengths))]
