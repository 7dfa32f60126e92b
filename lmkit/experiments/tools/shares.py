"""What of values that depend on two things is owed to each of them alone, and what to the two together."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Shares", "two_way_shares"]


class Shares(NamedTuple):
    """Of the variance: of the first alone, of the second alone, and of neither alone; they add up to 1."""

    first: float
    second: float
    together: float


def two_way_shares(values: Tensor) -> Shares:
    """Vectors (M, K, D) for each of M first things with each of K second ones: an analysis of variance of two factors
    without repetition, summed over the D entries. What is a(m) + b(k) has nothing together.
    """
    centred = values - values.mean(dim=(0, 1))
    first, second = centred.mean(dim=1, keepdim=True), centred.mean(dim=0, keepdim=True)
    parts = [first.expand_as(centred), second.expand_as(centred), centred - first - second]
    total = float(centred.square().sum())
    return Shares(*(float(part.square().sum()) / total for part in parts))
