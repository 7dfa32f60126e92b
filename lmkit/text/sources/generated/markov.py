"""``markov``: a chain of order two over a few characters."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Iterable, Iterator
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from lmkit.text.sources.generated.generator import Generator, draw_index

__all__ = ["Markov"]


class Markov(Generator):
    """A chain of order two over a few characters: the next one depends on the last two, by odds drawn once and fixed.

    The first two characters are drawn from the chain's stationary distribution, so every position of the text has the
    same odds.
    """

    alphabet = "\n abcdef"

    @functools.cached_property
    def transitions(self) -> NDArray[np.float64]:
        """Odds of the next character given the last two, (A, A, A); each row sums to one and none is zero."""
        size = len(self.alphabet)
        draw = random.Random(20_240_229)
        weights = np.array([draw.expovariate(1.0) ** 2 + 0.01 for _ in range(size**3)]).reshape(size, size, size)
        odds: NDArray[np.float64] = weights / weights.sum(axis=2, keepdims=True)
        return odds

    @functools.cached_property
    def pairs(self) -> NDArray[np.float64]:
        """Stationary odds of two characters in a row, (A, A)."""
        size = len(self.alphabet)
        odds: NDArray[np.float64] = np.full((size, size), 1 / size**2)
        for _ in range(2000):
            odds = np.einsum("ab,abc->bc", odds, self.transitions)
            odds /= odds.sum()
        return odds

    @functools.cached_property
    def entropy_rate(self) -> float:
        surprise = -(self.transitions * np.log(self.transitions)).sum(axis=2)
        return float((self.pairs * surprise).sum())

    def characters(self, seed: int) -> Iterator[str]:
        draw = random.Random(seed)
        size = len(self.alphabet)
        tables = [[list(accumulate(row)) for row in rows] for rows in self.transitions.tolist()]
        before, last = divmod(draw_index(draw, list(accumulate(self.pairs.ravel().tolist()))), size)
        yield self.alphabet[before]
        while True:
            yield self.alphabet[last]
            before, last = last, draw_index(draw, tables[before][last])

    def surprisals(self, chunks: Iterable[str]) -> Iterator[float]:
        single = self.pairs.sum(axis=1)
        last: list[int] = []  # up to two characters before the chunk
        for chunk in chunks:
            indices = [self.alphabet.find(character) for character in chunk]
            if -1 in indices:
                yield math.inf
                return
            ids = np.array([*last, *indices], dtype=np.int64)
            total = -float(np.log(self.transitions[ids[:-2], ids[1:-1], ids[2:]]).sum())
            if len(last) == 0 and len(ids):
                total -= math.log(single[ids[0]])
            if len(last) < 2 <= len(ids):
                total -= math.log(self.pairs[ids[0], ids[1]] / single[ids[0]])
            yield total
            last = ids[-2:].tolist()
