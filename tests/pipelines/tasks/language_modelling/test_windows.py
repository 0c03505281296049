"""Windows over the test split: every token scored once, with context, whatever the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.text.shards import Shards
from models.decoder.huggingface import load
from pipelines.paths import Paths
from pipelines.tasks.language_modelling import scoring
from pipelines.tasks.language_modelling.windows import batches, cut

torch.set_num_threads(1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(1, 20), st.data())
def test_every_token_is_scored_once_with_enough_context(lengths: list[int], context: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, context))
    offsets = np.cumsum([0, *lengths])
    windows = cut(offsets, context, stride)
    scored = [token for window in windows for token in range(window.first, window.last)]
    assert scored == list(range(offsets[-1]))
    for window in windows:
        document = int(np.searchsorted(offsets, window.first, side="right")) - 1
        assert offsets[document] <= window.start <= window.first < window.last <= offsets[document + 1]
        assert window.length <= context
        seen = window.first - window.start  # context of the first scored token
        assert window.start == offsets[document] or seen >= context - stride


@given(st.lists(st.integers(3, 50), min_size=1, max_size=6), st.integers(4, 20), st.integers(1, 2), st.data())
def test_tokens_that_come_with_every_text_are_shown_and_not_scored(
    lengths: list[int], context: int, given_tokens: int, data: st.DataObject
) -> None:
    offsets = np.cumsum([0, *lengths])
    windows = cut(offsets, context, data.draw(st.integers(1, context)), given_tokens)
    scored = [token for window in windows for token in range(window.first, window.last)]
    begins = offsets[:-1].tolist()
    assert scored == [n for n in range(offsets[-1]) if not any(b <= n < b + given_tokens for b in begins)]
    assert all(window.length <= context for window in windows)
    assert {window.start for window in windows} >= {begin + 1 for begin in begins}  # shown from the very first


def test_a_document_is_scored_after_its_first_token(trained: Paths) -> None:
    model, test = load(trained.checkpoint), Shards(trained.prepared, "test")
    test.first = (1,)
    nats = scoring.score(model, test, scoring.split_windows(test, model.config.context, 1.0), batch_tokens=300)
    assert sorted(np.flatnonzero(np.isnan(nats))) == test.given.tolist() == test.offsets[:-1].tolist()
    begin, tokens = int(test.offsets[3]), torch.from_numpy(test.document(3))[: model.config.context]
    with torch.no_grad():
        wanted = -model(tokens[None, :-1])[0].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
    np.testing.assert_allclose(nats[begin + 1 : begin + len(tokens)], wanted.numpy(), atol=2e-5)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 100))
def test_batches_hold_all_windows_within_the_limit(lengths: list[int], limit: int) -> None:
    windows = cut(np.cumsum([0, *lengths]), 16, 8)
    made = list(batches(windows, limit))
    assert sorted(w.first for batch in made for w in batch) == [w.first for w in windows]
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(window.length for window in batch) <= limit


def test_scores_are_those_of_each_document_alone(trained: Paths) -> None:
    model, test = load(trained.checkpoint), Shards(trained.prepared, "test")
    context = model.config.context
    nats = scoring.score(model, test, scoring.split_windows(test, context, 0.5), batch_tokens=300)
    for number in range(0, len(test), 4):
        tokens = torch.from_numpy(np.concatenate([[test.eos], test.document(number)]))
        begin = int(test.offsets[number])
        for place in range(1, len(tokens)):  # token `place` after everything its window may show
            if place <= context:
                start = 0
            else:
                window = (place - 1 - context) // (context // 2) + 1
                last = min(context + window * (context // 2), len(tokens) - 1)
                start = max(last - context, 0)
            with torch.no_grad():
                wanted = -model(tokens[None, start:place])[0, -1].log_softmax(-1)[tokens[place]]
            assert nats[begin + place - 1] == pytest.approx(float(wanted), abs=2e-5)


def test_scores_do_not_depend_on_the_batch(trained: Paths) -> None:
    model, test = load(trained.checkpoint), Shards(trained.prepared, "test")
    windows = scoring.split_windows(test, 32, 0.75)
    one, many = (scoring.score(model, test, windows, size) for size in (1, 4096))
    np.testing.assert_allclose(one, many, atol=2e-5)


def test_a_limit_takes_windows_from_all_over_the_split(trained: Paths) -> None:
    test = Shards(trained.prepared, "test")
    windows = scoring.split_windows(test, 32, 1.0, limit=400)
    scored = sum(window.last - window.first for window in windows)
    assert 200 <= scored <= 500
    assert windows[0].first < test.total_tokens / 5
    assert windows[-1].last > test.total_tokens * 4 / 5
    assert scoring.split_windows(test, 32, 1.0, limit=10**9) == scoring.split_windows(test, 32, 1.0)


def test_what_no_window_scores_is_nan(trained: Paths) -> None:
    model, test = load(trained.checkpoint), Shards(trained.prepared, "test")
    windows = scoring.split_windows(test, 32, 1.0, limit=100)
    nats = scoring.score(model, test, windows, 256)
    assert np.isfinite(nats).sum() == sum(window.last - window.first for window in windows) < test.total_tokens


def test_scores_do_not_depend_on_the_number_of_workers(trained: Paths) -> None:
    model, test = load(trained.checkpoint), Shards(trained.prepared, "test")
    windows = scoring.split_windows(test, 32, 0.75)
    torch.set_num_threads(1)
    alone = scoring.score(model, test, windows, 256)
    for workers in (2, 3):
        np.testing.assert_array_equal(scoring.score(model, test, windows, 256, workers=workers), alone)


def test_workers_give_the_number_of_threads_back() -> None:
    torch.set_num_threads(2)
    try:
        assert list(scoring.spread(lambda item: (item, torch.get_num_threads()), range(3), 2)) == [
            (0, 1),
            (1, 1),
            (2, 1),
        ]
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            list(scoring.spread(lambda item: 1 // item, [1, 0, 1], 2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
