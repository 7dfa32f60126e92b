"""Softmax over a large vocabulary with its gradient computed on the way: what makes an exact softmax quick on a CPU.

The composition of ``F.linear`` and ``F.cross_entropy`` writes and reads the (N, V) logits, log-probabilities and
their gradients several times over. Here a block of rows is turned from logits into probabilities and into its
gradient in place, while it is still in the cache, and the two gradient products follow at once; backward only scales
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lmkit.model.widened import widened

__all__ = ["IGNORE", "linear_nll_sum", "nll_and_gradient"]

IGNORE = -100  # a target of this value is not predicted; torch's own convention
SMALL_VOCABULARY = 1024  # below it the plain composition is as quick
LOGITS_AT_ONCE = 2**23  # 32 MiB of float32


def linear_nll_sum(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Summed nll in nats of targets (N,) under softmax(hidden @ weight.T + bias), hidden (N, D), weight (V, D), bias
    (V,).

    Targets of IGNORE are left out. Under autocast the products run in its precision and the softmax in float32.
    """
    needs_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    if hidden.device.type != "cpu" or len(weight) < SMALL_VOCABULARY or not needs_gradient:
        logits_NV = widened(F.linear(hidden, weight, bias))
        return F.cross_entropy(logits_NV, targets, ignore_index=IGNORE, reduction="sum")
    precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
    return cast(Callable[..., Tensor], _LinearNllSum.apply)(hidden, weight, bias, targets, precision)


class _LinearNllSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: torch.dtype
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            total, *gradients = _loss_and_gradients(
                hidden.to(precision), weight.to(precision), bias.to(precision), targets, torch.float32
            )
        grad_hidden, grad_weight, grad_bias = gradients
        ctx.save_for_backward(grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype), grad_bias.to(bias.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        return grad_hidden * grad, grad_weight.mul_(grad), grad_bias.mul_(grad), None, None


def _loss_and_gradients(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, sums: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The summed nll and its gradients by hidden, weight and bias; sums over rows are kept in precision ``sums``."""
    sums = torch.float64 if hidden.dtype == torch.float64 else sums
    grad_hidden = torch.empty_like(hidden)
    grad_weight = torch.zeros(weight.shape, dtype=sums)
    grad_bias = torch.zeros(bias.shape, dtype=sums)
    total = torch.zeros((), dtype=sums)
    block = max(64, LOGITS_AT_ONCE // len(weight))
    for start in range(0, len(hidden), block):
        rows_ND, wanted = hidden[start : start + block], targets[start : start + block]
        nll_N, gradient_NV = nll_and_gradient(torch.addmm(bias, rows_ND, weight.t()), wanted, sums)
        total += nll_N.sum()
        grad_bias += gradient_NV.sum(0)
        low_NV = gradient_NV.to(hidden.dtype)
        grad_hidden[start : start + block] = low_NV @ weight  # a product with out= takes a much slower path in bfloat16
        if low_NV.dtype == sums:
            grad_weight.addmm_(low_NV.t(), rows_ND)
        else:
            grad_weight += low_NV.t() @ rows_ND
    return total, grad_hidden, grad_weight, grad_bias


def nll_and_gradient(logits: Tensor, targets: Tensor, sums: torch.dtype) -> tuple[Tensor, Tensor]:
    """The nll (N,) of targets (N,) under logits (N, V), and its gradient by the logits, both in precision ``sums``."""
    (ignored,) = torch.nonzero(targets == IGNORE, as_tuple=True)
    indices = targets.clamp_min(0)[:, None]
    probabilities_NV = torch.softmax(logits, dim=-1, dtype=sums)
    # the largest one is 1 / sum(exp(logits - largest logit)): its logarithm is what a log-softmax would compute anew
    largest_N, wanted_N = (some.to(sums) for some in (logits.amax(-1), logits.gather(1, indices)[:, 0]))
    nll_N = largest_N - wanted_N - probabilities_NV.amax(-1).log_()
    # d nll / d logits = probabilities - one-hot target
    gradient_NV = probabilities_NV.scatter_add_(1, indices, torch.full(indices.shape, -1.0, dtype=sums))
    return nll_N.index_fill_(0, ignored, 0), gradient_NV.index_fill_(0, ignored, 0)
