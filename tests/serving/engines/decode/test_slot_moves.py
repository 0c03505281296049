"""A sequence that is moved to another slot takes along whatever its slot holds."""

import numpy as np

from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.graph import Graph
from serving.engines.decode.scheduler import Running
from serving.engines.decode.steps import PATIENCE
from tests.serving.engines.decode.engines import build

HELD = tuple(range(1, 33))


def test_one_that_has_not_begun_keeps_the_beginning_that_its_slot_held_before(bundle):
    """Its prompt begins like the slot's last one, so it will take those tokens from the cache instead of computing."""
    engine = build(bundle, "fp32", slots=3)
    graph = engine._graph
    slots = engine._slots
    for slot in range(3):
        assert slots.take((slot,), 40)[0] == slot
    graph.extend(2, np.array(HELD), 0, np.array([31]))
    slots.holds(2, HELD)
    slots.leave(1)
    waiting = Running(None, None, 2, (*HELD, 77))  # type: ignore[arg-type] # moving looks at neither
    engine._scheduler.running.append(waiting)
    for _ in range(PATIENCE + 1):
        engine._close_up()
    assert waiting.slot == 1
    assert slots.match(waiting.window, 1) == (1, 32)
    wanted = Graph(DecoderBundle.load(bundle, "fp32"), 1, 1)
    wanted.extend(0, np.array(HELD), 0, np.array([31]))
    for name, array in graph.cache.arrays.items():
        assert (array[1, :, :32] == wanted.cache.arrays[name][0, :, :32]).all()
