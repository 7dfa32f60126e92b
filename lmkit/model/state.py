"""Recurrent state: a value that goes into a model and comes out of it, never an attribute of one.

Per layer a tuple of tensors, ``(h,)`` or ``(h, c)``, each ``(B, H)``. The batch is always the first dimension.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["State", "detach", "map_state", "repeat", "reset", "select"]

State = tuple[tuple[Tensor, ...], ...]


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply a function to each tensor of the state."""
    return tuple(tuple(function(tensor) for tensor in layer) for layer in state)


def detach(state: State) -> State:
    """The same values, cut off from the graph: the truncation of truncated back-propagation."""
    return map_state(Tensor.detach, state)


def reset(state: State, rows: Tensor) -> State:
    """Zero the given rows ((B,) bool) and leave all others as they are."""
    return map_state(lambda tensor: tensor.masked_fill(rows.view(-1, *[1] * (tensor.dim() - 1)), 0), state)


def select(state: State, rows: Tensor) -> State:
    """The given rows ((N,) integers), in that order."""
    return map_state(lambda tensor: tensor.index_select(0, rows), state)


def repeat(state: State, times: int) -> State:
    """Each row ``times`` times, neighbours together."""
    return map_state(lambda tensor: torch.repeat_interleave(tensor, times, dim=0), state)
