"""Intervals and a test for means over dependent data: whole blocks are drawn and compared, never single tokens.

What a model loses on one token says something of its neighbours, so tokens are no independent draws. Blocks of many
consecutive tokens nearly are, as long as a block is much longer than the reach of the dependence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lmkit.evaluation.comparison.student import t_quantile, two_sided_p

__all__ = [
    "FEWEST_BLOCKS",
    "BlockBootstrap",
    "default_block",
    "holm",
    "paired_test",
]

Floats = NDArray[np.float64]

# Few blocks are long, which is what keeps the level, and cost little power: with 16 an effect must be 2.13 standard
# errors instead of 1.96 (Ibragimov & Müller 2010 use 8 and 16).
USUAL_BLOCKS = 16
SHORTEST_BLOCK = 100
SHORT_TEXT_BLOCKS = 10
FEWEST_BLOCKS = 5
NUMBERS_AT_ONCE = 1 << 22


def default_block(size: int) -> int:
    """Tokens (or bytes) of a block: a sixteenth of the text, at least 100, but a tenth of a short text."""
    return max(1, min(max(size // USUAL_BLOCKS, SHORTEST_BLOCK), size // SHORT_TEXT_BLOCKS))


class BlockBootstrap:
    """Confidence intervals of ratios (sum of losses) / (sum of tokens) by drawing blocks with replacement.

    Blocks are consecutive and do not overlap (Carlstein 1986), and the same draws serve every ratio. The interval is
    the percentile one with its tails moved outwards as far as Student's t is wider than the normal distribution for so
    few blocks (the expanded percentile interval of Hesterberg 2015, arXiv 1411.5279): for symmetric data
    it is the t interval.
    """

    def __init__(self, num_blocks: int, *, resamples: int, confidence: float, seed: int) -> None:
        self.num_blocks = num_blocks
        self.resamples = resamples
        self.seed = seed
        n = num_blocks
        wide = t_quantile((1 + confidence) / 2, n - 1) * math.sqrt(n / (n - 1))
        self.tail = NormalDist().cdf(-wide)

    def intervals(self, sums: Floats, sizes: Floats) -> Floats:
        """Low and high ends (2, K) of K ratios, from their sums and sizes in each block (blocks, K).

        Not a number where fewer than five blocks hold anything of a ratio.
        """
        drawn = np.concatenate([_ratios(counts @ sums, counts @ sizes) for counts in self._draws()])
        ends = np.full((2, sums.shape[1]), math.nan)
        for column in np.flatnonzero(np.count_nonzero(sizes, axis=0) >= FEWEST_BLOCKS):
            values = drawn[:, column]
            ends[:, column] = np.quantile(values[~np.isnan(values)], [self.tail, 1 - self.tail])
        return ends

    def _draws(self) -> Iterator[Floats]:
        """How often each block is drawn, (some resamples, blocks): the same numbers at each call."""
        generator = np.random.default_rng(self.seed)
        rows = max(1, NUMBERS_AT_ONCE // self.num_blocks)
        shares = np.full(self.num_blocks, 1 / self.num_blocks)
        for begin in range(0, self.resamples, rows):
            size = min(rows, self.resamples - begin)
            yield generator.multinomial(self.num_blocks, shares, size=size).astype(np.float64)


def paired_test(differences: Floats, sizes: Floats) -> tuple[float, float]:
    """Student's t and its two-sided p-value for a mean difference of zero, from the blocks' sums and sizes (blocks,).

    The t test on the means of a few long blocks of a dependent series keeps its level, and is conservative where the
    blocks' variances differ (Ibragimov & Müller 2010, "t-statistic based correlation and heterogeneity robust
    inference", Journal of Business & Economic Statistics 28, after Bakirov & Székely 2005). Blocks of slightly
    different sizes enter by the linearised ratio estimator (Cochran 1977, "Sampling Techniques", chapter 6).
    """
    number = len(differences)
    total, size = float(differences.sum()), float(sizes.sum())
    residuals = differences - total / size * sizes
    error = math.sqrt(number / (number - 1) * float((residuals**2).sum()))
    if error <= 1e-12 * abs(total) or error == 0:  # the same difference in every block
        return (0.0, 1.0) if total == 0 else (math.copysign(math.inf, total), 0.0)
    return total / error, two_sided_p(total / error, number - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): the k-th smallest of n times n - k + 1, never falling."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected


def _ratios(sums: Floats, sizes: Floats) -> Floats:
    """Quotients, not a number where a resample holds nothing."""
    return np.divide(sums, sizes, out=np.full(sums.shape, math.nan), where=sizes > 0)
