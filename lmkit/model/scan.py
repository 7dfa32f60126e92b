"""The linear recurrence h_t = a_t h_{t-1} + b_t over a whole window: what cells without a product between steps run on.

A scan of pairs (a, b) under (a, b) after (a', b') = (a a', a b' + b), an associative operation (Martin & Cundy 2018,
arXiv 1709.04057). Nothing is divided by a product of coefficients and nothing goes through logarithms, so it is as
exact as the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["scan"]


def scan(coefficients: Tensor, additions: Tensor, start: Tensor) -> Tensor:
    """h_1 ... h_T (T, B, D) from coefficients a and additions b, both (T, B, D), and h_0 (B, D).

    Computed in float32 at least, whatever the precision of what comes in. Gradients are of the first order.
    """
    dtype = torch.promote_types(additions.dtype, torch.float32)
    return cast(Callable[..., Tensor], _Scan.apply)(coefficients.to(dtype), additions.to(dtype), start.to(dtype))


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, additions: Tensor, start: Tensor) -> Tensor:
        values_TBD = _run(coefficients, additions, start)
        ctx.save_for_backward(coefficients, values_TBD, start)
        return values_TBD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """d/db is the same recurrence backwards in time: g_t = grad_t + a_{t+1} g_{t+1}."""
        coefficients, values_TBD, start = ctx.saved_tensors
        following_TBD = F.pad(coefficients[1:], (0, 0, 0, 0, 0, 1))
        of_additions = _run(following_TBD.flip(0), grad.flip(0), torch.zeros_like(start)).flip(0)
        before_TBD = torch.cat([start[None], values_TBD[:-1]])
        return of_additions * before_TBD, of_additions, coefficients[0] * of_additions[0]


def _run(coefficients: Tensor, additions: Tensor, start: Tensor) -> Tensor:
    return (_one_by_one if additions.device.type == "cpu" else _by_doubling)(coefficients, additions, start)


def _one_by_one(coefficients: Tensor, additions: Tensor, start: Tensor) -> Tensor:
    """On a CPU one pass over memory is all there is to gain: each step is one operation on (B, D)."""
    values_TBD = torch.empty_like(additions)
    for a_BD, b_BD, out_BD in zip(coefficients, additions, values_TBD, strict=True):
        start = torch.addcmul(b_BD, a_BD, start, out=out_BD)
    return values_TBD


def _by_doubling(coefficients: Tensor, additions: Tensor, start: Tensor) -> Tensor:
    """In log2 T rounds over all steps (Hillis & Steele 1986): after each, a pair stands for twice as many steps."""
    additions = torch.cat([torch.addcmul(additions[0], coefficients[0], start)[None], additions[1:]])
    reach = 1
    while reach < len(additions):
        additions = torch.cat(
            [additions[:reach], torch.addcmul(additions[reach:], coefficients[reach:], additions[:-reach])]
        )
        coefficients = torch.cat([coefficients[:reach], coefficients[reach:] * coefficients[:-reach]])
        reach *= 2
    return additions
