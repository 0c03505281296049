"""The divergence of a student from a teacher of whom k tokens are known: as plain code on whole logits finds it."""

import pytest
import torch
import torch.nn.functional as F

from pipelines.tasks.distillation.loss import divergence

V, W = 23, 6


def drawn(k, temperature, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 5, W, generator=generator, dtype=dtype, requires_grad=True)
    head = torch.randn(V, W, generator=generator, dtype=dtype, requires_grad=True)
    logits = 2 * torch.randn(3, 5, V, generator=generator)
    log_q, ids = torch.log_softmax(logits / temperature, -1).topk(k)
    targets = torch.randint(V, (3, 5), generator=generator)
    return features, head, targets, ids.int(), log_q, torch.softmax(logits / temperature, -1)


def plainly(features, head, ids, log_q, temperature):
    p = torch.softmax(features.double() @ head.double().t() / temperature, -1)
    some, log_q = p.gather(-1, ids.long()), log_q.double()
    q = log_q.exp()
    rest_p, rest_q = 1 - some.sum(-1), 1 - q.sum(-1)
    return (q * (log_q - some.log())).sum() + (rest_q * (rest_q / rest_p).log()).sum()


@pytest.mark.parametrize(("k", "temperature"), [(1, 1.0), (5, 1.0), (5, 2.5), (12, 0.7)])
def test_loss_and_gradients_are_those_of_plain_code(k, temperature):
    features, head, targets, ids, log_q, _ = drawn(k, temperature)
    found = divergence(features, head, targets, ids, log_q, temperature)
    gradients = torch.autograd.grad(found, (features, head))
    wanted = plainly(features, head, ids, log_q, temperature)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradients, torch.autograd.grad(wanted, (features, head)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_of_all_tokens_it_is_the_whole_divergence():
    features, head, targets, ids, log_q, q = drawn(V, 1.5)
    wanted = F.kl_div(torch.log_softmax(features @ head.t() / 1.5, -1), q, reduction="sum")
    torch.testing.assert_close(divergence(features, head, targets, ids, log_q, 1.5), wanted, rtol=1e-4, atol=1e-4)


def test_it_does_not_depend_on_what_the_text_says():
    features, head, targets, ids, log_q, _ = drawn(4, 1.0)
    one, other = (divergence(features, head, each, ids, log_q, 1.0) for each in (targets, (targets + 1) % V))
    torch.testing.assert_close(one, other)


def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient():
    features, head, targets, *_ = drawn(4, 2.0)
    log_q, ids = torch.log_softmax((features @ head.t()).detach() / 2.0, -1).topk(4)
    found = divergence(features, head, targets, ids, log_q, 2.0)
    assert abs(float(found)) < 1e-4
    assert float(torch.autograd.grad(found, features)[0].abs().max()) < 1e-5


def test_a_teacher_that_is_sure_costs_no_infinity():
    """All of q on one token that the student holds impossible, and the other way round."""
    features, head = torch.ones(1, 1, 1, requires_grad=True), torch.tensor([[60.0], [0.0], [0.0]])
    for token, wanted in ((1, 60.0), (0, 0.0)):
        found = divergence(features, head, torch.tensor([[0]]), torch.tensor([[[token]]]), torch.zeros(1, 1, 1), 1.0)
        (gradient,) = torch.autograd.grad(found, features)
        assert float(found) == pytest.approx(wanted, abs=1e-3)
        assert torch.isfinite(gradient).all()


def test_where_the_teacher_was_not_asked_nothing_is_learnt():
    """Of what opens every text the teacher's file has minus infinity (a tokenizer with a beginning of text)."""
    features, head, targets, ids, log_q, _ = drawn(4, 1.5)
    wanted = divergence(features[:, 1:], head, targets[:, 1:], ids[:, 1:], log_q[:, 1:], 1.5)
    log_q[:, 0], ids[:, 0] = -torch.inf, 0
    found = divergence(features, head, targets, ids, log_q, 1.5)
    torch.testing.assert_close(found, wanted)
    gradients = torch.autograd.grad(found, (features, head))
    for ours, theirs in zip(gradients, torch.autograd.grad(wanted, (features, head)), strict=True):
        torch.testing.assert_close(ours, theirs)
