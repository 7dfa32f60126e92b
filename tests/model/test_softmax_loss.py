"""The softmax that computes its gradient on the way: the same numbers as the composition it stands for."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lmkit.model import softmax_loss
from lmkit.model.softmax_loss import SMALL_VOCABULARY, linear_nll_sum, nll_and_gradient

VOCAB = SMALL_VOCABULARY + 30


def leaves(
    dtype: torch.dtype = torch.float32, vocab_size: int = VOCAB, rows: int = 200
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    hidden, weight, bias = torch.randn(rows, 9), torch.randn(vocab_size, 9), torch.randn(vocab_size)
    targets = torch.randint(vocab_size, (rows,))
    targets[::7] = -100
    first, second, third = (tensor.to(dtype).requires_grad_() for tensor in (hidden, weight, bias))
    return (first, second, third), targets


def composed(hidden, weight, bias, targets):
    return F.cross_entropy(F.linear(hidden, weight, bias), targets, ignore_index=-100, reduction="sum")


@pytest.mark.parametrize(
    ("vocab_size", "dtype", "tolerance"),
    [(10, torch.float32, 2e-5), (VOCAB, torch.float32, 2e-5), (VOCAB, torch.float64, 1e-12)],
)
def test_value_and_gradients_are_those_of_the_composition(vocab_size, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(softmax_loss, "LOGITS_AT_ONCE", 64 * VOCAB)  # so that there are several blocks
    inputs, targets = leaves(dtype, vocab_size)
    ours, expected = linear_nll_sum(*inputs, targets), composed(*inputs, targets)
    assert ours.item() == pytest.approx(expected.item(), rel=max(tolerance, 1e-6))
    pairs = zip(torch.autograd.grad(ours * 0.37, inputs), torch.autograd.grad(expected * 0.37, inputs), strict=True)
    for mine, theirs in pairs:
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def test_without_gradients_the_value_is_the_same():
    inputs, targets = leaves()
    with torch.no_grad():
        assert linear_nll_sum(*inputs, targets).item() == pytest.approx(composed(*inputs, targets).item(), rel=1e-6)


def test_gradients_add_up_where_a_weight_is_used_elsewhere_too():
    (hidden, weight, bias), targets = leaves()
    (linear_nll_sum(hidden, weight, bias, targets) + (weight**2).sum()).backward()
    other = weight.detach().clone().requires_grad_()
    (composed(hidden, other, bias, targets) + (other**2).sum()).backward()
    torch.testing.assert_close(weight.grad, other.grad, rtol=2e-5, atol=2e-5)


def test_one_weight_may_serve_two_sums():
    (hidden, weight, bias), targets = leaves()
    (linear_nll_sum(hidden, weight, bias, targets) + linear_nll_sum(2 * hidden, weight, bias, targets)).backward()
    other = weight.detach().clone().requires_grad_()
    (composed(hidden, other, bias, targets) + composed(2 * hidden, other, bias, targets)).backward()
    torch.testing.assert_close(weight.grad, other.grad, rtol=2e-5, atol=2e-5)


def test_frozen_weights_still_give_the_hidden_vectors_their_gradient():
    (hidden, weight, bias), targets = leaves()
    weight.requires_grad_(False)
    bias.requires_grad_(False)
    (ours,) = torch.autograd.grad(linear_nll_sum(hidden, weight, bias, targets), hidden)
    (theirs,) = torch.autograd.grad(composed(hidden, weight, bias, targets), hidden)
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


def test_a_second_backward_through_the_scaled_gradient_is_refused_and_not_wrong():
    inputs, targets = leaves()
    total = linear_nll_sum(*inputs, targets) * 0.5
    torch.autograd.grad(total, inputs, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(total, inputs)


def test_all_targets_may_be_ignored():
    inputs, targets = leaves()
    total = linear_nll_sum(*inputs, torch.full_like(targets, -100))
    assert total.item() == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(total, inputs))


def test_large_logits_do_not_overflow():
    (hidden, weight, bias), targets = leaves()
    hidden = (1e4 * hidden).detach().requires_grad_()
    total = linear_nll_sum(hidden, weight, bias, targets)
    assert total.item() == pytest.approx(composed(hidden, weight, bias, targets).item(), rel=1e-5)
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(total, (hidden, weight, bias)))


def test_autocast_changes_the_products_and_not_the_softmax():
    inputs, targets = leaves()
    expected = composed(*inputs, targets)
    with torch.autocast("cpu", torch.bfloat16):
        ours = linear_nll_sum(*inputs, targets)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(expected.item(), rel=0.01)
    gradients = zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(expected, inputs), strict=True)
    for mine, theirs in gradients:
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.02 * theirs.norm()


def test_of_logits_in_bfloat16_neither_nll_nor_gradient_is_rounded():
    inputs, targets = leaves()
    logits = F.linear(*inputs).detach().bfloat16()
    wide = logits.float().requires_grad_()
    expected = F.cross_entropy(wide, targets, reduction="none")
    nll, gradient = nll_and_gradient(logits, targets, torch.float32)
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), wide)[0], rtol=1e-5, atol=1e-7)
