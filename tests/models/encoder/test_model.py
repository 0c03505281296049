"""An encoder sees its whole text and nothing of its neighbours, padded or packed."""

import pytest
import torch

from models.encoder.layout import Packed, Rows
from models.encoder.network import Config, build
from tests.models.encoder.small_encoders import STYLES, VOCABULARY, ragged, small

LENGTHS = (3, 12, 1, 7, 12, 5)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("lengths", [LENGTHS, (4,), (6, 6, 6), (1, 20)], ids=str)
def test_packed_and_padded_give_the_same_numbers_and_gradients(
    style: str, pooling: str, lengths: tuple[int, ...]
) -> None:
    network, tokens = small(style), ragged(*lengths)
    found = []
    for layout in (Rows(tokens), Packed(tokens)):
        network.zero_grad()
        pooled = layout.pool(network.features(layout), pooling)  # type: ignore[arg-type]
        pooled.square().sum().backward()
        grads = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
        found.append((pooled.detach(), grads))
    (rows, ours), (packed, theirs) = found
    torch.testing.assert_close(packed, rows, atol=1e-5, rtol=1e-5)
    assert ours.keys() == theirs.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(theirs[name], grad, atol=2e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("style", STYLES)
def test_a_text_alone_and_among_others(style: str) -> None:
    network, tokens = small(style), ragged(*LENGTHS)
    together = network(tokens)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(network(tokens[row : row + 1, :length])[0], together[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("style", STYLES)
def test_every_token_sees_every_other(style: str) -> None:
    network, tokens = small(style, pooling="cls"), ragged(9)
    changed = tokens.clone()
    changed[0, 8] = tokens[0, 8] % (VOCABULARY - 1) + 1
    assert not torch.allclose(network(tokens), network(changed))


@pytest.mark.parametrize("style", STYLES)
def test_the_order_of_tokens_counts(style: str) -> None:
    network, tokens = small(style), ragged(9)
    assert not torch.allclose(network(tokens), network(tokens.flip(1)), atol=1e-4)


def test_rope_knows_distances_and_no_places() -> None:
    """A text moved to the right in its row, with the places of its tokens, has the same vectors."""
    network = small("modern")
    tokens, layout = ragged(5), Rows(ragged(5))
    here = network.features(layout)
    layout.places = layout.places + 11
    torch.testing.assert_close(network.features(layout), here, atol=1e-5, rtol=1e-5)
    assert tokens.shape == (1, 5)


def test_dropout_is_a_function_of_the_seed_and_of_training() -> None:
    network, tokens, seed = small("bert", dropout=0.5), ragged(*LENGTHS), torch.tensor(3)
    network.train()
    one, again, other = network(tokens, seed), network(tokens, seed), network(tokens, torch.tensor(4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    for name, part in network.named_children():
        part.train(name == "head")  # as when all but the head is frozen
    layout = Packed(tokens)
    assert torch.equal(network.features(layout, seed), network.features(layout))


def test_exported_with_any_batch_and_length(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import onnxruntime

    for style in STYLES:
        network, path = small(style), tmp_path / f"{style}.onnx"
        dynamic = torch.export.Dim.DYNAMIC
        torch.onnx.export(
            network, (ragged(4, 5, 3),), path, dynamo=True, input_names=["tokens"], verbose=False,
            dynamic_shapes=({0: dynamic, 1: dynamic},),
        )  # fmt: skip
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for lengths in ((1,), (7, 2), LENGTHS, (20,)):
            tokens = ragged(*lengths)
            (made,) = session.run(None, {"tokens": tokens.numpy()})
            torch.testing.assert_close(torch.from_numpy(made), network(tokens).detach(), atol=1e-5, rtol=1e-4)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"texts of 30 tokens, and model\.context is 24"):
        build(Config(context=24), (30, 9), 2, torch.Generator())
    with pytest.raises(ValueError, match=r"90 tokens, and model\.vocabulary is 9"):
        build(Config(vocabulary=9), (30, 90), 2, torch.Generator())
    assert list(Config(width=30, heads=4).problems()) == ["model.width: 30 is not a multiple of model.heads (4)"]
    assert "rope needs an even width" in next(Config(width=12, heads=4, places="rope").problems())
