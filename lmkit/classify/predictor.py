"""What tells the class of a text: a trained network, or a baseline that counts words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Prefixes", "TextClassifier"]


class Prefixes(NamedTuple):
    """A text word by word: its W words, and log-probabilities (W, C) in nats of the classes after each of them."""

    words: tuple[str, ...]
    log_probs: NDArray[np.float64]


class TextClassifier(Protocol):
    """Whatever gives texts probabilities of C classes, in the order of ``classes``."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""

    def classify(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Log-probabilities (N, C) in nats: each text by itself, whatever others are beside it."""

    def classify_prefixes(self, text: str) -> Prefixes:
        """What ``classify`` gives for the text up to the end of each word."""
