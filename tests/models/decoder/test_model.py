"""The decoder: causal, the same with and without a cache, packed or ragged; checkpointing and dropout by seed."""

from itertools import accumulate, chain

import pytest
import torch
import torch.nn.functional as F

from kernels import linear_cross_entropy
from models.common.dropout import dropout
from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from tests.models.decoder.small_decoders import STYLES, build, tokens

ALL = pytest.mark.parametrize("style", STYLES)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 2e-5) -> bool:
    a, b = a.detach(), b.detach()
    return bool((a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max())))


@ALL
def test_a_later_token_does_not_change_earlier_logits(style):
    model, ids = build(style), tokens(2, 12)
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 61
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not close(before[:, 7:], after[:, 7:])


@ALL
def test_cached_equals_uncached(style):
    model, ids = build(style), tokens(3, 14)
    with torch.no_grad():
        whole = model(ids)
        cache, done, parts = model.empty_cache(3), 0, []
        for step in (5, 1, 1, 4, 3):  # prefill, decode, and chunks over a cache
            part, cache = model.forward_cached(ids[:, done : done + step], cache, torch.full((3,), done + step))
            parts.append(part)
            done += step
    assert close(torch.cat(parts, dim=1), whole)
    assert cache[0][0].shape == (3, model.config.kv_heads, 14, model.config.head_dim)


@ALL
def test_a_ragged_batch_equals_each_row_alone(style):
    model, ids, lengths = build(style), tokens(3, 9), torch.tensor([9, 4, 1])
    follow = tokens(3, 3, seed=2)
    with torch.no_grad():
        prefill, cache = model.forward_cached(ids, model.empty_cache(3), lengths)
        decoded = []
        for step in range(3):
            part, cache = model.forward_cached(follow[:, step : step + 1], cache, lengths + step + 1)
            decoded.append(part)
        for row, length in enumerate(lengths.tolist()):
            alone = model(torch.cat([ids[row, :length], follow[row]])[None])[0]
            assert close(prefill[row, :length], alone[:length])
            assert close(torch.cat(decoded, dim=1)[row], alone[length:])


@ALL
@pytest.mark.parametrize("rows", [1, 2])
def test_packed_documents_equal_documents_alone(style, rows):
    model, ids = build(style), tokens(rows, 24)
    lengths = [[1, 9, 14], [5, 0, 1, 18]][:rows]
    starts = torch.tensor([0, *accumulate(chain(*lengths))], dtype=torch.int32)
    flat, logits = ids.flatten(), model(ids, cu_seqlens=starts).flatten(0, 1)
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if end > begin:
            assert close(logits[begin:end], model(flat[None, begin:end])[0])


def test_packed_loss_and_gradient_equal_the_unpacked():
    """The mean loss of a packed batch is that of its documents, one by one; so are the gradients."""
    model = build("qwen3")
    ids, targets = tokens(1, 24), tokens(1, 24, seed=3)
    starts = torch.tensor([0, 7, 8, 24], dtype=torch.int32)

    def loss(pieces):
        total = sum(
            linear_cross_entropy(model.features(i, cu_seqlens=s), model.head_weight, t, reduction="sum")
            for i, t, s in pieces
        )
        return total / 24

    documents = [(ids[:, a:b], targets[:, a:b], None) for a, b in ((0, 7), (7, 8), (8, 24))]
    results = []
    for pieces in ([(ids, targets, starts)], documents):
        value = loss(pieces)
        results.append((value, torch.autograd.grad(value, list(model.parameters()))))
    assert close(results[0][0], results[1][0])
    assert all(close(a, b, 1e-4) for a, b in zip(results[0][1], results[1][1], strict=True))


@ALL
def test_training_path_equals_plain_operations(style):
    """Hand-written gradients against autograd through the cached form, which is made of plain operations."""
    model, ids, targets = build(style), tokens(2, 10), tokens(2, 10, seed=3)
    weights = list(model.parameters())
    plain_logits, _ = model.forward_cached(ids, model.empty_cache(2), torch.full((2,), 10))
    plain = F.cross_entropy(plain_logits.flatten(0, 1), targets.flatten())
    ours = linear_cross_entropy(model.features(ids), model.head_weight, targets)
    assert close(ours, plain)
    expected, got = torch.autograd.grad(plain, weights), torch.autograd.grad(ours, weights)
    assert all(close(a, b, 1e-4) for a, b in zip(got, expected, strict=True))


@ALL
def test_activation_checkpointing_changes_no_gradient(style):
    model, ids, seed = build(style, dropout=0.2).train(), tokens(2, 10), torch.tensor(5)
    gradients = []
    for model.activation_checkpointing in (False, True):
        value = model(ids, seed=seed).float().logsumexp(-1).sum()
        gradients.append(torch.autograd.grad(value, list(model.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_dropout_is_a_function_of_its_seed():
    model, ids = build("llama", dropout=0.3), tokens(2, 10)
    plain = model(ids)
    assert torch.equal(plain, model(ids, seed=torch.tensor(1)))  # evaluation mode drops nothing
    model.train()
    state = torch.get_rng_state()
    first, again, other = (model(ids, seed=torch.tensor(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not close(first, other)
    assert not close(first, plain)
    assert torch.equal(state, torch.get_rng_state())  # the global generator was left alone
    with pytest.raises(ValueError, match="dropout needs a seed"):
        model(ids)


def test_dropout_keeps_the_mean_and_the_rate():
    out = dropout(torch.ones(200, 500), 0.25, torch.tensor(3), site=1)
    assert abs(float((out == 0).float().mean()) - 0.25) < 0.005
    assert abs(float(out.mean()) - 1) < 0.01
    assert not torch.equal(out, dropout(torch.ones(200, 500), 0.25, torch.tensor(3), site=2))


def test_initial_weights_depend_on_the_generator_alone():
    config = DecoderConfig(vocab_size=61, width=64)
    one, two, three = (Decoder(config, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.head_weight, three.head_weight)
    assert one.head_weight is one.embed_tokens.weight


def test_a_block_may_begin_by_changing_nothing():
    model = Decoder(DecoderConfig(vocab_size=61, width=64, residual_init="zero"), torch.Generator().manual_seed(1))
    written = [
        weight for name, weight in model.named_parameters() if name.endswith(("o_proj.weight", "down_proj.weight"))
    ]
    assert len(written) == 2 * model.config.layers
    assert not any(weight.any() for weight in written)
    ids = torch.arange(61)[None]
    torch.testing.assert_close(model.features(ids), model.norm(model.embed_tokens(ids)))


def test_bfloat16_autocast_is_near_float32():
    model, ids = build("qwen3"), tokens(2, 16)
    exact = model(ids)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(ids)
        rough.float().square().mean().backward()
    assert rough.dtype == torch.bfloat16
    assert close(rough.float(), exact, 0.06)
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())


def test_counts():
    model = Decoder(DecoderConfig(vocab_size=1000, width=64, heads=4, layers=3, activation="gelu", tied=False))
    matrices = 3 * (4 * 64 * 64 + 2 * 64 * 256)
    assert model.parameter_count == 2 * 1000 * 64 + matrices + 7 * 64
    assert model.flops_per_token(128) == 6 * (1000 * 64 + matrices + 7 * 64) + 6 * 3 * 64 * 128


def test_errors():
    with pytest.raises(ValueError, match="vocab_size is not set"):
        Decoder(DecoderConfig())
    with pytest.raises(ValueError, match="33 tokens are more than the context of 32"):
        build("llama")(tokens(1, 33))


def test_compiles_without_graph_breaks():
    model, ids, targets = build("own", dropout=0.1).train(), tokens(2, 10), tokens(2, 10, seed=3)

    def loss(ids, targets, seed):
        return linear_cross_entropy(model.features(ids, seed=seed), model.head_weight, targets)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for step in range(3):
        seed = torch.tensor(step)
        pairs = [(f(ids, targets, seed)) for f in (loss, compiled)]
        assert close(pairs[1], pairs[0])
        a, b = (torch.autograd.grad(value, list(model.parameters())) for value in pairs)
        assert all(close(x, y, 1e-4) for x, y in zip(a, b, strict=True))
