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
        of_additions = _scan_back(coefficients, grad)
        of_coefficients = torch.empty_like(of_additions)
        torch.mul(of_additions[0], start, out=of_coefficients[0])
        torch.mul(of_additions[1:], values_TBD[:-1], out=of_coefficients[1:])
        return of_coefficients, of_additions, coefficients[0] * of_additions[0]


def _scan_back(coefficients: Tensor, grad: Tensor) -> Tensor:
    """g_t = grad_t + a_{t+1} g_{t+1} (T, B, D), and g_T = grad_T: the gradient of each value of a scan, from that which
    it has besides (T, B, D).
    """
    if grad.device.type != "cpu":
        following_TBD = F.pad(coefficients[1:], (0, 0, 0, 0, 0, 1))
        return _by_doubling(following_TBD.flip(0), grad.flip(0), torch.zeros_like(grad[0])).flip(0)
    values_TBD = torch.empty_like(grad)
    last = torch.add(grad[-1], 0.0, out=values_TBD[-1])
    steps = (grad[:-1], coefficients[1:], values_TBD[:-1])
    for grad_BD, a_BD, out_BD in zip(*(reversed(one.unbind()) for one in steps), strict=True):
        last = torch.addcmul(grad_BD, a_BD, last, out=out_BD)
    return values_TBD


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
