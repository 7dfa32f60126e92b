"""A text word by word, and what its classes are worth after each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Prefixes"]


class Prefixes(NamedTuple):
    """A text word by word: its W words, and log-probabilities (W, C) in nats of the classes after each of them."""

    words: tuple[str, ...]
    log_probs: NDArray[np.float64]
