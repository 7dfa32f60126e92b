"""Where the first border of an epoch is."""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["first_window_steps"]


@functools.lru_cache(maxsize=64)
def first_window_steps(seed: int, epoch: int, window: int) -> int:
    """Steps of an epoch's first window: uniform on 1..window, a function of (seed, epoch)."""
    draw = int(np.random.SeedSequence([seed, epoch, 0xF1]).generate_state(1, np.uint64)[0])
    return 1 + draw % window
