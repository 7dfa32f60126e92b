"""The largest Lyapunov exponent of a map."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["Exponent", "Tensors", "largest_exponent"]

Tensors = tuple[Tensor, ...]
PARTS = 20
BLOCK = 8


class Exponent(NamedTuple):
    """The mean growth of a small difference, in nats per step, and the standard error of it, from twenty parts of the
    trajectory. Minus infinity where a difference is gone altogether.
    """

    value: float
    error: float


def largest_exponent(
    step: Callable[[Tensors], Tensors], state: Tensors, *, steps: int = 10_000, settle: int = 1_000, seed: int = 0
) -> tuple[Exponent, Tensors]:
    """The largest Lyapunov exponent of the trajectory that begins at a state, and where that is after ``steps``.

    A tangent vector is carried along by forward-mode differentiation, through all tensors of the state, and brought
    back to length one every eight steps; the exponent is the mean logarithm of what its length became (Benettin et al.
    1980, Meccanica 15, p. 9). settle: steps before those, in which the tangent finds its direction. Tensors that are no
    floating-point numbers move on without a tangent.
    """
    _load_rules()
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(one.shape, generator=generator, dtype=torch.float64).to(one) for one in state if _moves(one)]
    tangent = _scaled(drawn, _length(drawn))
    logs: list[float] = []
    with torch.no_grad():
        for number in (*_blocks(settle), *_blocks(steps)):
            state, tangent = _advance(step, state, tangent, number)
            length = _length(tangent)
            if length == 0:
                return Exponent(-math.inf, 0.0), state
            tangent = _scaled(tangent, length)
            logs.append(math.log(length))
    return _exponent(logs[len(_blocks(settle)) :], _blocks(steps)), state


def _blocks(steps: int) -> list[int]:
    """Steps between which the tangent is scaled."""
    return [BLOCK] * (steps // BLOCK) + [steps % BLOCK] * (steps % BLOCK > 0)


def _exponent(logs: Sequence[float], blocks: Sequence[int]) -> Exponent:
    """The mean growth per step, and its error from parts of the trajectory."""
    grown, taken = (torch.tensor(values, dtype=torch.float64) for values in (logs, blocks))
    number = min(PARTS, len(blocks))
    parts = zip(grown.tensor_split(number), taken.tensor_split(number), strict=True)
    rates = torch.stack([part.sum() / steps.sum() for part, steps in parts])
    error = float(rates.std() / math.sqrt(number)) if number > 1 else math.inf
    return Exponent(math.fsum(logs) / sum(blocks), error)


@functools.cache
def _load_rules() -> None:
    """Let torch load its rules of forward-mode differentiation, which it does by a function that it has retired."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
        forward_ad.make_dual(torch.ones(1), torch.ones(1))


def _advance(
    step: Callable[[Tensors], Tensors], state: Tensors, tangent: Sequence[Tensor], number: int
) -> tuple[Tensors, list[Tensor]]:
    """The state after some steps, and the tangent there."""
    directions = iter(tangent)
    with forward_ad.dual_level():
        dual = tuple(forward_ad.make_dual(one, next(directions)) if _moves(one) else one for one in state)
        for _ in range(number):
            dual = step(dual)
        pairs = [forward_ad.unpack_dual(one) for one in dual]
        after = tuple(pair.primal for pair in pairs)
        moved = [torch.zeros_like(pair.primal) if pair.tangent is None else pair.tangent for pair in pairs]
    return after, [one for one, value in zip(moved, after, strict=True) if _moves(value)]


def _moves(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def _length(tangent: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(one.square().sum()) for one in tangent))


def _scaled(tangent: Sequence[Tensor], length: float) -> list[Tensor]:
    return [one / length for one in tangent]
