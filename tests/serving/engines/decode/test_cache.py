"""Slots: who gets which, what of a prompt is found again, and that the budget bounds what is held."""

import mmap
import random

import numpy as np
import pytest

from serving.engines.decode.cache import KeyValueCache, Slots

FLOAT = np.dtype(np.float32)
LONG = tuple(range(100, 140))


def cache(slots: int = 3) -> KeyValueCache:
    return KeyValueCache({"0.key": (2, 16, FLOAT), "0.value": (2, 16, np.dtype(np.float16))}, slots, 64)


def test_the_memory_is_what_is_said():
    made = cache()
    assert made.arrays["0.key"].shape == made.arrays["0.value"].shape == (3, 2, 64, 16)
    assert [array.dtype for array in made.arrays.values()] == [np.float32, np.float16]
    assert all(array.flags.c_contiguous and array.flags.writeable for array in made.arrays.values())
    made.arrays["0.key"][:] = 1
    assert not made.arrays["0.value"].any()


def test_copy_takes_the_first_tokens_only():
    made = cache()
    for array in made.arrays.values():
        array[0] = 7
    made.copy(0, 2, 10)
    for array in made.arrays.values():
        assert (array[2, :, :10] == 7).all()
        assert not array[2, :, 10:].any()
        assert not array[1].any()


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="Linux only")
def test_release_leaves_the_neighbours_alone():
    made = KeyValueCache({"0.key": (1, 1000, FLOAT)}, 3, 100)  # slots that do not begin where a page does
    made.arrays["0.key"][:] = 7
    made.release(1)
    assert (made.arrays["0.key"][[0, 2]] == 7).all()
    assert (made.arrays["0.key"][1] == 0).mean() > 0.95
    made.arrays["0.key"][1] = 5
    assert (made.arrays["0.key"][1] == 5).all()


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="Linux only")
def test_release_keeps_the_beginning():
    parts = {"0.key": (2, 100, FLOAT), "0.value": (3, 50, np.dtype(np.float16))}
    made = KeyValueCache(parts, 3, 1000)  # heads that do not begin where a page does
    for array in made.arrays.values():
        array[:] = 7
    made.release(1, 300)
    for array in made.arrays.values():
        assert (array[[0, 2]] == 7).all()
        assert (array[1, :, :300] == 7).all()
        assert (array[1, :, 300:] == 0).mean() > 0.8


def test_untouched_memory_takes_no_room():
    import psutil

    before = psutil.Process().memory_info().rss
    made = KeyValueCache({"0.key": (8, 128, FLOAT)}, 16, 16384)  # 1 GiB
    made.arrays["0.key"][3, :, :10] = 1
    assert psutil.Process().memory_info().rss - before < 32 << 20


def slots(count: int = 4, capacity: int = 64, chunk: int = 16, budget: int = 256) -> Slots:
    return Slots(count, capacity, chunk, budget)


def test_slots_are_side_by_side():
    made = slots()
    assert [made.take((1,), 10)[0] for _ in range(3)] == [0, 1, 2]
    made.leave(1)
    assert made.take((1,), 10)[0] == 1


def test_what_fits():
    made = slots(count=3, budget=100)
    assert made.fits(64)
    made.take((1,), 64)
    assert not made.fits(37)
    made.take((1,), 36)
    assert made.reserved == 100
    assert not made.fits(1)
    made.leave(0)
    assert (made.reserved, made.free) == (36, 2)
    assert made.fits(64)
    made.take((1,), 1)
    made.take((1,), 1)
    assert not made.fits(1)  # no slot


def test_a_budget_below_one_context_is_one_context():
    assert slots(budget=1).fits(64)


def test_whole_chunks_are_found_again_and_never_all_of_a_prompt():
    made = slots()
    slot, _ = made.take(LONG, 60)
    assert made.match(LONG, slot) == (slot, 0)
    made.holds(slot, LONG)
    for length, found in {1: 0, 16: 0, 17: 16, 32: 16, 33: 32, 40: 32}.items():
        assert made.match(LONG[:length], 3) == ((slot, found) if found else (3, 0))
    other = (*LONG[:20], 7, *LONG[21:])
    assert made.match(other, 3) == (slot, 16)
    assert made.match((7, *LONG), 3) == (3, 0)
    made.holds(3, LONG)
    assert made.match(LONG, 3) == (3, 32)  # one's own is best


def test_a_position_stays_free_for_rows_that_are_computed_in_vain():
    made = slots()
    made.holds(0, tuple(range(64)))
    assert made.held(0) == 48


def test_a_slot_that_holds_the_prompt_is_taken():
    made = slots()
    taken = [made.take(prompt, 60)[0] for prompt in (LONG, (5,) * 40)]
    made.holds(taken[0], LONG)
    made.holds(taken[1], (5,) * 40)
    for slot in taken:
        made.leave(slot)
    assert made.take((*LONG, 3), 60)[0] == taken[0]
    made.leave(taken[0])
    assert made.take((1, 2, 3), 60)[0] in (2, 3)  # untouched ones are older than any


def test_what_was_left_behind_gives_way_oldest_first():
    made = slots(count=4, budget=130)
    for prompt in ((1,) * 20, (2,) * 20):
        slot, released = made.take(prompt, 60)
        assert released == []
        made.holds(slot, prompt)
        made.leave(slot)
    slot, released = made.take((3,) * 20, 60)
    assert (slot, released) == (2, [(0, 0)])
    assert made.match((1,) * 20, 3) == (3, 0)
    assert made.match((2,) * 20, 3) == (1, 16)


def test_a_long_past_gives_way_to_itself():
    made = slots(count=1, capacity=64, budget=64)
    made.take(LONG, 64)
    made.holds(0, LONG)
    made.leave(0)
    assert made.take(LONG[:20], 30) == (0, [])
    assert made.match(LONG, 0) == (0, 32)


def test_a_short_sequence_does_not_want_what_a_long_one_before_it_did():
    made = Slots(16, 2048, 64, 16384)
    system = tuple(range(64))
    for _ in range(8):
        slot, _ = made.take((*system, *range(1900)), 2000)
        made.holds(slot, (*system, *range(1900)))
    for slot in range(8):
        made.leave(slot)
    assert [made.take((*system, 1), 150) for _ in range(8)] == [(slot, []) for slot in range(8)]
    assert (made.reserved, made.fits(500)) == (1200, True)
    assert made.take((1,), 500) == (8, [(0, 150)])  # memory is given back only now that it is wanted
    assert made.match((*system, *range(1900)), 9)[1] > 150  # the others still hold theirs
    assert made.match((*system, 1), 0) == (0, 64)  # and this one what it came for
    assert made.take((1,), 2048)[1] == [(1, 150)]
    assert made.reserved == 3748


def test_a_moved_sequence_wants_no_more_than_before():
    made = slots()
    for wanted in (10, 64, 10):
        made.take((1,), wanted)
    made.leave(1)
    made.move(2, 1)
    assert (made.reserved, made.fits(64)) == (20, True)


def test_holes_are_closed_from_the_end():
    made = slots()
    for _ in range(4):
        made.take((1,), 10)
    assert made.hole() is None
    made.holds(3, LONG)
    made.leave(1)
    assert made.hole() == (3, 1)
    made.move(3, 1)
    assert made.hole() is None
    assert made.match(LONG, 0) == (1, 32)
    assert (made.free, made.reserved) == (1, 30)
    made.leave(0)
    assert made.hole() is None  # the range is 1 to 2


@pytest.mark.parametrize("seed", range(20))
def test_the_budget_always_holds(seed):
    """Random arrivals and departures: all that any slot holds is within the budget, and every slot has one owner."""
    chance = random.Random(seed)
    made = slots(count=6, capacity=64, budget=chance.choice([64, 100, 200, 384]))
    held = [0] * 6  # tokens of memory that were written to
    busy: dict[int, int] = {}
    for _ in range(400):
        wanted = chance.randint(1, 64)
        prompt = tuple(chance.randint(1, 2) for _ in range(chance.randint(1, wanted)))
        if chance.random() < 0.55 and made.fits(wanted):
            slot, released = made.take(prompt, wanted)
            assert slot not in busy
            busy[slot] = wanted
            for each, kept in released:
                assert kept == busy.get(each, 0)  # nothing that a sequence may use
                held[each] = min(held[each], kept)
            held[slot] = max(held[slot], wanted)
            made.holds(slot, prompt)
        elif busy and chance.random() < 0.8:
            slot = chance.choice(list(busy))
            made.leave(slot)
            del busy[slot]
        elif move := made.hole():
            source, target = move
            made.move(source, target)
            busy[target] = busy.pop(source)
            held[target], held[source] = max(held[target], busy[target]), 0
        assert sum(held) <= made.budget
        assert made.reserved == sum(busy.values())
        assert made.free == 6 - len(busy)
    for slot in busy:
        made.leave(slot)
    assert (made.reserved, made.free) == (0, 6)
