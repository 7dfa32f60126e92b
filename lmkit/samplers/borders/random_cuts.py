"""Windows between cuts that are drawn."""

from __future__ import annotations

import functools
import math

import numpy as np

from lmkit.samplers.borders.borders import Borders, Span
from lmkit.samplers.borders.moving import first_window_steps

__all__ = ["RandomCuts", "longest_segment"]

RARE = 1e-6  # a segment that is longer than what memory is estimated for has this probability


class RandomCuts(Borders):
    """Windows from cut to cut. After the first 1..chunk steps and then every ``chunk`` of them there is a border, and
    the rows are cut at each with a probability, independently.

    The random truncation of Tallec & Ollivier (2017, arXiv 1705.08209) with one probability for all borders. Where a
    row is not cut, the gradient into its state is multiplied by 1 / (1 - probability), so it is right in the mean.
    """

    def __init__(self, seed: int, epoch: int, steps: int, *, chunk: int, probability: float) -> None:
        super().__init__(seed, epoch, steps)
        self.chunk, self.probability = chunk, probability
        self.first = first_window_steps(seed, epoch, chunk)
        self.num_borders = max(0, -(-(steps - self.first) // chunk))
        self.cuts = drawn_cuts(seed, epoch, self.num_borders, probability)

    @property
    def num_windows(self) -> int:
        return len(self.cuts) + 1

    @property
    def mean_windows(self) -> float:
        return 1 + self.num_borders * self.probability

    def span(self, index: int) -> Span:
        before = int(self.cuts[index - 1]) if index > 0 else -1
        after = int(self.cuts[index]) if index < len(self.cuts) else self.num_borders
        begin = self._step(before) if index > 0 else 0
        inner = tuple(self._step(border) - begin for border in range(before + 1, after))
        return Span(begin, begin, self._step(after) if index < len(self.cuts) else self.steps, inner)

    def _step(self, border: int) -> int:
        """Steps of a row before a border."""
        return self.first + border * self.chunk


@functools.lru_cache(maxsize=4)
def drawn_cuts(seed: int, epoch: int, num_borders: int, probability: float) -> np.ndarray:
    """The borders at which an epoch's rows are cut, in ascending order; whether one is, is a function of (seed, epoch,
    border).
    """
    draws = np.random.SeedSequence([seed, epoch, 0xC7]).generate_state(max(1, num_borders), np.uint64)
    return np.flatnonzero(draws[:num_borders] < np.uint64(probability * 2**64))


def longest_segment(chunk: int, probability: float) -> int:
    """Steps that one of a million segments exceeds."""
    return chunk * max(1, math.ceil(math.log(RARE) / math.log1p(-probability)))
