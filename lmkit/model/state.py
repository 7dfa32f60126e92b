"""Recurrent state: a value that goes into a model and comes out of it, never an attribute of one.

Per layer a tuple of tensors, such as ``(h,)`` or ``(h, c)``, whose shapes and types are the cell's own. The batch is
always the first dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "State",
    "cast",
    "concatenate",
    "detach",
    "gather",
    "map_state",
    "repeat",
    "reset",
    "scale_gradient",
    "select",
    "split",
]

State = tuple[tuple[Tensor, ...], ...]


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply a function to each tensor of the state."""
    return tuple(tuple(function(tensor) for tensor in layer) for layer in state)


def detach(state: State) -> State:
    """The same values, cut off from the graph: the truncation of truncated back-propagation."""
    return map_state(Tensor.detach, state)


def cast(state: State, dtype: torch.dtype) -> State:
    """The state in another precision; counts stay integers."""
    return map_state(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, state)


def scale_gradient(values: tuple[Tensor, ...], factor: float) -> tuple[Tensor, ...]:
    """The same values of a layer, whose gradient is multiplied by a factor on its way back; counts have none."""
    scaled: Callable[[Tensor, float], Tensor] = _ScaledGradient.apply
    return tuple(scaled(tensor, factor) if tensor.is_floating_point() else tensor for tensor in values)


def reset(state: State, rows: Tensor, initial: State) -> State:
    """The given rows ((B,) bool) as in the state ``initial``, and all others as they are."""

    def choose(now: Tensor, first: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (now.dim() - 1)), first.to(now.dtype), now)

    pairs = zip(state, initial, strict=True)
    return tuple(tuple(choose(*values) for values in zip(*layers, strict=True)) for layers in pairs)


def select(state: State, rows: Tensor) -> State:
    """The given rows ((N,) integers), in that order."""
    return map_state(lambda tensor: tensor.index_select(0, rows), state)


def gather(rows: Sequence[tuple[State, int]]) -> State:
    """A state whose row i is the given row of the i-th given state."""
    return concatenate([select(state, torch.tensor([row], device=state[0][0].device)) for state, row in rows])


def split(state: State, parts: int) -> list[State]:
    """The rows in so many parts, as equal as can be."""
    pieces = [[tensor.tensor_split(parts) for tensor in layer] for layer in state]
    return [tuple(tuple(tensors[part] for tensors in layer) for layer in pieces) for part in range(parts)]


def concatenate(parts: Sequence[State]) -> State:
    """The rows of all states, one after the other."""
    if len(parts) == 1:
        return parts[0]
    layers = zip(*parts, strict=True)
    return tuple(tuple(torch.cat(tensors) for tensors in zip(*layer, strict=True)) for layer in layers)


def repeat(state: State, times: int) -> State:
    """Each row ``times`` times, neighbours together."""
    return map_state(lambda tensor: torch.repeat_interleave(tensor, times, dim=0), state)


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None
