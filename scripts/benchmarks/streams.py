"""Token ids with the frequencies of natural text."""

from __future__ import annotations

from typing import Any

import numpy as np


def zipf(vocab_size: int, tokens: int, first: int = 0) -> Any:
    """Ids (tokens,) from ``first`` on: the one of rank r is seen in proportion to 1 / (r + 2.7)."""
    weights = 1.0 / (np.arange(first, vocab_size) + 2.7)
    ids = np.arange(first, vocab_size)
    return np.random.default_rng(0).choice(ids, size=tokens, p=weights / weights.sum())
