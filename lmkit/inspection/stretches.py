"""Stretches of a text, many at a time: where they are, and what is read before them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.errors import DataError

__all__ = ["before", "positions", "unrelated"]

Ids = NDArray[np.integer]
Positions = NDArray[np.int64]


def positions(num_tokens: int, *, first: int, number: int, after: int = 0) -> Positions:
    """At most ``number`` positions of a text, evenly spread, with ``first`` tokens before each and ``after`` from each
    on. Raises DataError where the text has none.
    """
    last = num_tokens - max(1, after)
    if last < first:
        needed = first + max(1, after)
        raise DataError(
            f"The text has {num_tokens:,} tokens and at least {needed:,} are needed: give a longer text, or look at "
            "shorter lags (--lags)."
        )
    return np.unique(np.linspace(first, last, number).astype(np.int64))


def before(ids: Ids, ends: Positions, length: int) -> Tensor:
    """The ``length`` tokens before each of the positions (R,): (R, length) int64."""
    return torch.from_numpy(np.asarray(ids)[ends[:, None] + np.arange(-length, 0)].astype(np.int64))


def unrelated(ids: Ids, places: Positions, length: int) -> Tensor:
    """For each position (R,) ``length`` tokens from half a text away, (R, length), as far as that goes: they follow one
    another in the text, whose end is followed by its beginning.
    """
    starts = places + len(ids) // 2
    return torch.from_numpy(np.asarray(ids)[(starts[:, None] + np.arange(length)) % len(ids)].astype(np.int64))
