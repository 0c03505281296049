"""The key/value cache: one slot of memory for each sequence, and who is in which slot.

`KeyValueCache` is the memory, `Slots` the book-keeping. A slot that was left still holds the beginning of its prompt: a
new request with the same beginning (a shared system prompt) takes it from there, in place or by copying, instead of
computing it; if it goes through the same adapter, for another one's keys and values are others. Only whole prefill
chunks are taken over, because those hold the very bits that the request itself would have computed; so a hit changes no
result. Least recently used slots are given up first. It runs no model.
"""

import mmap
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

Array = np.ndarray
Part = tuple[int, int, np.dtype]
"""Heads, numbers a head and type of a layer's keys or values."""


class KeyValueCache:
    """Keys and values of all layers, `arrays[name]` [slots, heads, capacity, width]. Untouched memory takes no room."""

    def __init__(self, parts: Mapping[str, Part], slots: int, capacity: int) -> None:
        """`capacity`: tokens of a slot."""
        page = mmap.PAGESIZE
        sizes = [slots * heads * capacity * width * kind.itemsize for heads, width, kind in parts.values()]
        starts = [0, *np.cumsum([-(-size // page) * page for size in sizes]).tolist()]
        self.reserved: int = starts[-1]
        """Bytes of addresses; of memory it takes what is written to."""
        self._memory = _reserve(self.reserved)
        self.arrays: dict[str, Array] = {}
        for (name, (heads, width, kind)), start, size in zip(parts.items(), starts, sizes, strict=False):
            flat = np.frombuffer(self._memory, np.uint8, size, start)
            self.arrays[name] = flat.view(kind).reshape(slots, heads, capacity, width)
        self._starts, self._capacity = starts[:-1], capacity

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of a slot to another one."""
        for array in self.arrays.values():
            array[target, :, :tokens] = array[source, :, :tokens]

    def release(self, slot: int, kept: int = 0) -> None:
        """Give a slot's memory back to the system; it reads as zeros (Linux), or stays as it is (elsewhere).

        `kept`: tokens at its beginning that stay as they are.
        """
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        for begin, array in zip(self._starts, self.arrays.values(), strict=True):
            size, head = array[slot].nbytes, array[slot, 0].nbytes
            begin += slot * size
            step = head if kept else size  # all heads at once, when nothing stays
            for start in range(begin, begin + size, step):
                first = -(-(start + head // self._capacity * kept) // mmap.PAGESIZE) * mmap.PAGESIZE
                last = (start + step) // mmap.PAGESIZE * mmap.PAGESIZE
                if last > first:
                    self._memory.madvise(mmap.MADV_DONTNEED, first, last - first)


def _reserve(size: int) -> mmap.mmap:
    """Memory that is taken from the system page by page, as it is written to."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return mmap.mmap(-1, size)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    memory = mmap.mmap(-1, size, flags=flags)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)  # a huge page for a few tokens of each head would fill the memory
    return memory


class Slots:
    """Who is in which slot. Lengths are in tokens; `budget` bounds what all slots hold together."""

    def __init__(self, count: int, capacity: int, chunk: int, budget: int) -> None:
        """`chunk`: prompts are reused in whole multiples of it."""
        self.count, self.capacity, self.budget = count, capacity, max(budget, capacity)
        self._chunk = chunk
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._busy = [False] * self.count
        self._wanted = [0] * self.count  # tokens that the sequence in it may come to
        self._room = [0] * self.count  # tokens of memory: what is wanted, or more that one before has left behind
        self._prefix: list[tuple[int, ...]] = [()] * self.count
        self._owner = [""] * self.count  # the adapter that computed it
        self._used = [0] * self.count
        self._clock = 0

    @property
    def reserved(self) -> int:
        """Tokens that are set aside for the sequences that run."""
        return sum(self._wanted)

    @property
    def free(self) -> int:
        """Slots that nobody is in."""
        return self.count - sum(self._busy)

    def fits(self, tokens: int) -> bool:
        """A sequence of that many tokens may come in now."""
        return self.free > 0 and self.reserved + tokens <= self.budget

    def take(self, prompt: tuple[int, ...], tokens: int, owner: str = "") -> tuple[int, list[tuple[int, int]]]:
        """Reserve a slot for a sequence that `fits`. Returns it, and what must be released first: (slot, tokens kept).
        `owner`: the key of its adapter.

        Sequences stay side by side, because one step runs a range of slots; among equals the slot that holds the
        beginning of the prompt is best, then the one that was used longest ago.
        """
        busy = [slot for slot in range(self.count) if self._busy[slot]]
        low, high = (busy[0], busy[-1]) if busy else (0, -1)

        def cost(slot: int) -> tuple[int, int, int]:
            width = max(high, slot) - min(low, slot) if busy else 0
            return width, -self._common(slot, prompt, owner), self._used[slot]

        slot = min((each for each in range(self.count) if not self._busy[each]), key=cost)
        self._busy[slot], self._wanted[slot] = True, tokens
        self._touch(slot)
        self._room[slot] = max(self._room[slot], tokens)
        released = []
        while sum(self._room) > self.budget:
            spare = [each for each in range(self.count) if self._room[each] > self._wanted[each]]
            # First where a sequence runs: what an earlier one left behind it there is of use to nobody.
            given = min(spare, key=lambda each: (not self._busy[each], self._used[each]))
            kept = self._room[given] = self._wanted[given]
            self._prefix[given] = self._prefix[given][: kept // self._chunk * self._chunk]
            released.append((given, kept))
        return slot, released

    def leave(self, slot: int) -> None:
        """The sequence has ended; what it computed of its prompt stays for others."""
        self._busy[slot], self._wanted[slot] = False, 0
        self._touch(slot)

    def match(self, prompt: tuple[int, ...], own: int, owner: str = "") -> tuple[int, int]:
        """The slot that holds most of the beginning of `prompt`, and how many tokens; at least one is left over.

        `own`: the slot that it is for, which is best among equals; `owner`: the key of its adapter.
        """
        best = max([own, *range(self.count)], key=lambda slot: self._common(slot, prompt, owner))
        return best, self._common(best, prompt, owner)

    def _common(self, slot: int, prompt: tuple[int, ...], owner: str) -> int:
        if owner != self._owner[slot]:
            return 0
        held, chunk = self._prefix[slot], self._chunk
        borders = range(0, min(len(held), len(prompt) - 1) + 1, chunk)
        for start, end in pairwise(borders):
            if held[start:end] != prompt[start:end]:
                return start
        return borders[-1] if borders else 0

    def holds(self, slot: int, tokens: tuple[int, ...], owner: str = "") -> None:
        """The slot's cache now begins with `tokens`; whole chunks of them can be reused, by the same `owner`."""
        most = min(len(tokens), self.capacity - 1)  # a position stays free for `held`
        self._prefix[slot], self._owner[slot] = tokens[: most // self._chunk * self._chunk], owner

    def held(self, slot: int) -> int:
        """Below the capacity: how many tokens at its beginning others may reuse. Nothing may be written before that."""
        return len(self._prefix[slot])

    def hole(self) -> tuple[int, int] | None:
        """(from, to): a move that would put the sequences closer together; None when they are."""
        busy = [slot for slot in range(self.count) if self._busy[slot]]
        for target in range(busy[0], busy[-1]) if busy else ():
            if not self._busy[target]:
                return busy[-1], target
        return None

    def move(self, source: int, target: int) -> None:
        """The sequence in `source` is now in the free slot `target`; the memory of `source` is to be released."""
        self._busy[source], self._busy[target] = False, True
        self._wanted[target], self._wanted[source] = self._wanted[source], 0
        self._room[target], self._room[source] = max(self._room[source], self._room[target]), 0
        self._prefix[target], self._prefix[source] = self._prefix[source], ()
        self._owner[target], self._owner[source] = self._owner[source], ""
        self._touch(target)

    def _touch(self, slot: int) -> None:
        self._clock += 1
        self._used[slot] = self._clock
