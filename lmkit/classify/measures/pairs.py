"""Two classifiers on the same texts: a test of which is better, and the difference of their accuracies."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import share_interval
from lmkit.evaluation.comparison.student import incomplete_beta

__all__ = ["Pairs"]


class Pairs(NamedTuple):
    """How many texts two classifiers are right on: both, the first alone, the second alone, neither."""

    both: int
    first: int
    second: int
    neither: int

    @classmethod
    def of(cls, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Pairs:
        """From what each is right on, (N,) both."""
        table = ((first, second), (first, ~second), (~first, second), (~first, ~second))
        return cls(*(int((one & other).sum()) for one, other in table))

    @property
    def total(self) -> int:
        """Texts."""
        return sum(self)

    @property
    def p_value(self) -> float:
        """McNemar's test in its exact form, two-sided: if both were equally good, each text that one alone is right on
        would fall to either like a coin (McNemar 1947; for classifiers Dietterich 1998).
        """
        discordant, fewer = self.first + self.second, min(self.first, self.second)
        # P(X <= k) of a binomial of n coins is I_(1/2)(n - k, k + 1)
        return min(1.0, 2 * incomplete_beta(0.5, discordant - fewer, fewer + 1)) if discordant else 1.0

    def difference(self, confidence: float) -> Interval:
        """The second's accuracy minus the first's: method 10 of Newcombe (1998, Statistics in Medicine 17, 2635-2650),
        which puts the two Wilson intervals together by the correlation of the pairs.
        """
        first = share_interval(self.both + self.first, self.total, confidence)
        second = share_interval(self.both + self.second, self.total, confidence)
        value = (self.second - self.first) / self.total
        return Interval(value, value - self._reach(second, first), value + self._reach(first, second))

    def _reach(self, down: Interval, up: Interval) -> float:
        """How far the difference goes where one proportion falls and the other rises."""
        assert down.low is not None and up.high is not None
        fall, rise = down.value - down.low, up.high - up.value
        return math.sqrt(max(0.0, fall * fall - 2 * self._correlation * fall * rise + rise * rise))

    @property
    def _correlation(self) -> float:
        """Newcombe's phi with a continuity correction; 0 where a margin is empty."""
        right, wrong = self.both + self.first, self.second + self.neither
        other_right, other_wrong = self.both + self.second, self.first + self.neither
        product = right * wrong * other_right * other_wrong
        if product == 0:
            return 0.0
        excess = float(self.both * self.neither - self.first * self.second)
        if excess > 0:
            excess = max(0.0, excess - self.total / 2)
        return excess / math.sqrt(product)
