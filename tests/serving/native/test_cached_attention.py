"""The kernel of CachedAttention against its function in ONNX Runtime's operators, and against float64."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest

from tests.serving.native import single_operator

pytestmark = single_operator.needs_kernels
OUTPUTS = {"out": "float32", "present_key": "int8", "present_value": "int8"}
CAPACITY = 160


@dataclass(frozen=True)
class Case:
    heads: int
    kv_heads: int
    width: int
    new: int
    lengths: tuple[int, ...]
    """Positions of each row's last token."""
    packed: bool = True
    turned: float = 1.0
    """The part of each head that RoPE turns."""

    @property
    def attributes(self) -> dict[str, object]:
        return {"num_heads": self.heads, "kv_num_heads": self.kv_heads, "scale": self.width**-0.5}


CASES = [
    Case(9, 3, 64, 1, (0, 5, 31, 100)),
    Case(9, 3, 64, 1, (159,)),
    Case(9, 3, 64, 7, (40,)),
    Case(9, 3, 64, 70, (69,)),
    Case(9, 3, 64, 2, (159,)),
    Case(4, 4, 32, 1, (3, 17), packed=False),
    Case(4, 4, 32, 5, (9,), packed=False),
    Case(4, 2, 48, 5, (4, 4, 4)),
    Case(4, 1, 16, 33, (64,)),
    Case(4, 2, 32, 1, (7, 99), turned=0.5),
    Case(4, 2, 32, 6, (99,), turned=0.5),
    Case(6, 2, 32, 4, (50,), turned=0),
    Case(6, 2, 32, 1, (50, 51), packed=False, turned=0),
    Case(8, 1, 128, 9, (127,)),
    Case(3, 1, 80, 1, (50,)),
    Case(16, 1, 256, 1, (127,)),
]


def draw(case: Case, seed: int = 0) -> dict[str, np.ndarray | None]:
    random = np.random.default_rng(seed)
    batch, queries, keys = len(case.lengths), case.heads * case.width, case.kv_heads * case.width
    rows = random.normal(size=(batch, case.new, queries + 2 * keys)).astype(np.float32)
    split = np.split(rows, [queries, queries + keys], axis=-1)
    half = int(case.turned * case.width / 2)
    angles = np.outer(np.arange(CAPACITY), 1e4 ** -(np.arange(half) / max(half, 1)))
    past = random.integers(-127, 128, (2, batch, case.kv_heads, CAPACITY, case.width)).astype(np.int8)
    scales = random.uniform(0.01, 0.04, (2, keys)).astype(np.float32)
    return {
        "query": rows if case.packed else split[0],
        "key": None if case.packed else split[1],
        "value": None if case.packed else split[2],
        "past_key": past[0], "past_value": past[1],
        "lengths": np.array(case.lengths, np.int32), "total": np.array(max(case.lengths) + 1, np.int32),
        "cos": np.cos(angles).astype(np.float32) if half else None,
        "sin": np.sin(angles).astype(np.float32) if half else None,
        "key_scale": scales[0], "value_scale": scales[1], "new": np.array(case.new),
    }  # fmt: skip


def reference(case: Case, feeds: dict[str, np.ndarray | None]) -> list[np.ndarray]:
    """In float64, token by token."""
    batch, group = len(case.lengths), case.heads // case.kv_heads
    queries, keys = case.heads * case.width, case.kv_heads * case.width
    parts = [feeds["query"], feeds["key"], feeds["value"]]
    if case.packed:
        parts = np.split(feeds["query"], [queries, queries + keys], axis=-1)
    q, k, v = (part.astype(np.float64).reshape(batch, case.new, -1, case.width) for part in parts)
    cache = [feeds["past_key"].copy(), feeds["past_value"].copy()]
    scales = [feeds[f"{name}_scale"].reshape(case.kv_heads, case.width) for name in ("key", "value")]
    out = np.zeros((batch, case.new, queries))

    def turn(x: np.ndarray, position: int) -> np.ndarray:
        if feeds["cos"] is None:
            return x
        cosine, sine = feeds["cos"][position], feeds["sin"][position]
        left, right, rest = np.split(x, [len(cosine), 2 * len(cosine)], axis=-1)
        return np.concatenate([left * cosine - right * sine, right * cosine + left * sine, rest], axis=-1)

    for row in range(batch):
        start = case.lengths[row] if case.new == 1 else int(feeds["total"]) - case.new
        for i in range(case.new):
            for part, new, scale in zip(cache, (turn(k[row, i], start + i), v[row, i]), scales, strict=True):
                part[row, :, start + i] = np.clip(np.rint(new / scale), -128, 127)
        for i in range(case.new):
            for head in range(case.heads):
                seen_k, seen_v = (part[row, head // group, : start + i + 1] * scale[head // group]
                                  for part, scale in zip(cache, scales, strict=True))  # fmt: skip
                scores = seen_k @ turn(q[row, i, head], start + i) * case.width**-0.5
                weights = np.exp(scores - scores.max())
                out[row, i, head * case.width : (head + 1) * case.width] = weights @ seen_v / weights.sum()
    return [out, *cache]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel_and_function_compute_what_float64_does(case: Case) -> None:
    feeds = draw(case)
    wanted = reference(case, feeds)
    for kernels, tolerance in ((True, 1e-5), (False, 2e-2 if case.new == 1 else 1e-5)):
        found = single_operator.run("CachedAttention", feeds, OUTPUTS, kernels, **case.attributes)
        assert np.abs(found[0] - wanted[0]).max() < tolerance
        for ours, theirs in zip(found[1:], wanted[1:], strict=True):
            for row, last in enumerate(case.lengths):
                count = CAPACITY if kernels else last + 1  # beyond it, in a copy, the function may leave anything
                error = np.abs(ours[row, :, :count].astype(int) - theirs[row, :, :count])
                assert error.max() <= 1  # ties, rounded either way
                assert error.mean() < 1e-3


def test_a_row_gives_the_same_bits_alone_and_among_others() -> None:
    case = Case(9, 3, 64, 1, tuple(range(0, 160, 10)))
    feeds = draw(case)
    together = single_operator.run("CachedAttention", feeds, OUTPUTS, True, **case.attributes)
    for row in (0, 7, 15):
        alone = {name: x[row : row + 1] if name in ("query", "past_key", "past_value", "lengths") else x
                 for name, x in feeds.items() if x is not None}  # fmt: skip
        alone = {name: alone.get(name) for name in feeds}
        found = single_operator.run("CachedAttention", alone, OUTPUTS, True, threads=1, **case.attributes)
        for ours, theirs in zip(found, together, strict=True):
            assert (ours[0] == theirs[row]).all()


def test_a_prompt_gives_the_same_bits_whole_and_in_chunks() -> None:
    case = Case(9, 3, 64, 150, (149,))
    feeds = draw(case)
    whole = single_operator.run("CachedAttention", feeds, OUTPUTS, True, **case.attributes)
    cache, rows, start = [feeds["past_key"], feeds["past_value"]], [], 0
    for size in (2, 64, 7, 50, 27):
        part = {**feeds, "query": feeds["query"][:, start : start + size], "past_key": cache[0], "past_value": cache[1],
                "lengths": np.array([start + size - 1], np.int32), "total": np.array(start + size, np.int32),
                "new": np.array(size)}  # fmt: skip
        out, *cache = single_operator.run("CachedAttention", part, OUTPUTS, True, **case.attributes)
        rows.append(out)
        start += size
    assert (np.concatenate(rows, axis=1) == whole[0]).all()
    assert all((ours == theirs).all() for ours, theirs in zip(cache, whole[1:], strict=True))


def test_past_and_present_in_one_buffer() -> None:
    case = CASES[0]
    feeds = draw(case)
    wanted = single_operator.run("CachedAttention", feeds, OUTPUTS, True, **case.attributes)
    opened = single_operator.session("CachedAttention", feeds, OUTPUTS, True, **case.attributes)
    binding = opened.io_binding()
    held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(x) for name, x in feeds.items() if x is not None}
    out = np.zeros_like(wanted[0])
    for name, value in held.items():
        binding.bind_ortvalue_input(name, value)
    for name in ("key", "value"):
        binding.bind_ortvalue_output(f"present_{name}", held[f"past_{name}"])
    binding.bind_ortvalue_output("out", onnxruntime.OrtValue.ortvalue_from_numpy(out))
    opened.run_with_iobinding(binding)
    assert (out == wanted[0]).all()
    assert (feeds["past_key"] == wanted[1]).all()
    assert (feeds["past_value"] == wanted[2]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": np.array([0, 5, 31, 160], np.int32)}, "does not fit its cache"),
        ({"lengths": np.array([0, 5, 31, -1], np.int32)}, "does not fit its cache"),
        ({"total": np.array(161, np.int32)}, "does not fit its cache"),
        ({"total": np.array(0, np.int32)}, "does not fit its cache"),
        ({"query": np.zeros((4, 1, 959), np.float32)}, "sizes that it does not take"),
        ({"query": np.zeros((4, 0, 960), np.float32)}, "sizes that it does not take"),
        ({"query": np.zeros((3, 1, 960), np.float32)}, "sizes that it does not take"),
        ({"lengths": np.array([0, 5, 31], np.int32)}, "sizes that it does not take"),
        ({"past_value": np.zeros((4, 3, 20, 64), np.int8)}, "sizes that it does not take"),
        ({"key_scale": np.ones(64, np.float32)}, "sizes that it does not take"),
        ({"value_scale": np.ones(64, np.float32)}, "sizes that it does not take"),
        ({"cos": np.ones((160, 64), np.float32)}, "sizes that it does not take"),
        ({"sin": np.ones((8, 32), np.float32)}, "sizes that it does not take"),
        ({"cos": np.ones((64, 32), np.float32), "sin": np.ones((64, 32), np.float32)}, "does not fit its cache"),
        ({"past_key": np.zeros((4, 3, 160, 24), np.int8)}, "sizes that it does not take"),
    ],
    ids=str,
)
def test_bad_inputs_are_refused(changes: dict[str, np.ndarray], message: str) -> None:
    feeds = draw(CASES[0])
    opened = single_operator.session("CachedAttention", feeds, OUTPUTS, True, **CASES[0].attributes)
    changed = {**{name: x for name, x in feeds.items() if x is not None}, **changes}
    with pytest.raises(Exception, match=message):
        opened.run(None, changed)


def test_no_rows_are_no_work() -> None:
    feeds = draw(CASES[0])
    empty = {name: x[:0] if name in ("query", "past_key", "past_value", "lengths") else x
             for name, x in feeds.items() if x is not None}  # fmt: skip
    feeds = {name: empty.get(name) for name in feeds}
    found = single_operator.run("CachedAttention", feeds, OUTPUTS, True, **CASES[0].attributes)
    assert [x.shape for x in found] == [(0, 1, 576), (0, 3, CAPACITY, 64), (0, 3, CAPACITY, 64)]


def test_what_is_no_number_spoils_its_own_row_only() -> None:
    case = Case(9, 3, 64, 1, (4, 5))
    feeds = draw(case)
    wanted = single_operator.run("CachedAttention", feeds, OUTPUTS, True, **case.attributes)
    feeds["query"][1, :, ::3], feeds["query"][1, :, 1::3] = np.nan, np.inf
    found = single_operator.run("CachedAttention", feeds, OUTPUTS, True, **case.attributes)
    assert all((ours[0] == theirs[0]).all() for ours, theirs in zip(found, wanted, strict=True))


@pytest.mark.parametrize("heads", [(9, 0), (9, -3), (0, 3), (9, 2), (51, 3), (1 << 62, 1 << 61)], ids=str)
def test_bad_numbers_of_heads_are_refused_when_the_graph_is_loaded(heads: tuple[int, int]) -> None:
    feeds = draw(Case(1, 1, 16, 1, (0,)))
    with pytest.raises(Exception, match="numbers of heads that it does not take"):
        refused(feeds, num_heads=heads[0], kv_num_heads=heads[1], scale=1.0)


@pytest.mark.parametrize("missing", ["num_heads", "kv_num_heads", "scale"])
def test_a_missing_attribute_is_named_when_the_graph_is_loaded(missing: str) -> None:
    attributes = {"num_heads": 1, "kv_num_heads": 1, "scale": 1.0}
    with pytest.raises(Exception, match=missing):
        refused(draw(Case(1, 1, 16, 1, (0,))), **{name: x for name, x in attributes.items() if name != missing})


def refused(feeds: dict[str, np.ndarray | None], **attributes: object) -> None:
    """Load a node with these attributes, whatever they are, without its function."""
    single_operator.load("CachedAttention", feeds, OUTPUTS, [], True, 1, **attributes)
