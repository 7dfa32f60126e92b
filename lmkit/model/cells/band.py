"""Attention to exactly the last M positions: those before a window come from a memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ATTENTION", "Band", "bands", "count_on", "filled", "following"]

ATTENTION = "attention"  # what weights (B, heads, M) are called among the gates
LEAST = 64  # steps of a band: with less, short memories would mean many small products


class Band(NamedTuple):
    """Some steps of a window and all that they attend to.

    steps: of the window. positions: of memory and window behind each other. seen: whether a step (N,) attends to a
    position (M + N - 1,), for each row or for all of them: (B or 1, N, M + N - 1) bool. A step's own position stands
    M - 1 after the first that it may see.
    """

    steps: slice
    positions: slice
    seen: Tensor


def bands(num_steps: int, size: int, count: Tensor) -> Iterator[Band]:
    """A window cut so that a band is not much wider than what its steps see. size: M; count (B,): positions of the
    memory (B, M, ...) that are filled, the last ones.
    """
    longest = max(size, LEAST)
    for start in range(0, num_steps, longest):
        length = min(longest, num_steps - start)
        slots = torch.arange(size + length - 1, device=count.device)
        distance = slots - torch.arange(length, device=count.device)[:, None]
        seen = ((distance >= 0) & (distance < size))[None]
        if start == 0:  # later bands begin beyond the memory
            seen = seen & (slots >= size - 1 - count[:, None])[:, None, :]
        yield Band(slice(start, start + length), slice(start + 1, start + size + length), seen)


def following(memory: Tensor, new: Tensor) -> Tensor:
    """A memory (B, M, ...) and what follows it (T, B, ...), in one: (B, M + T, ...) in the memory's precision."""
    return torch.cat([memory, new.transpose(0, 1).to(memory.dtype)], dim=1)


def count_on(count: Tensor, steps: int, size: int) -> Tensor:
    """How many of M positions are filled after some more steps."""
    return (count + steps).clamp_max(size)


def filled(count: Tensor, size: int) -> Tensor:
    """Which positions of a memory are filled: (B, M) bool, the last ones."""
    return torch.arange(size, device=count.device) >= size - count[:, None]
