"""Means, differences and shares over a few independent draws, such as the seeds of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

from lmkit.evaluation.comparison.chi_square import chi_square_quantile
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.student import t_quantile, two_sided_p

__all__ = [
    "CONFIDENCE",
    "Contrast",
    "deviation_interval",
    "fisher_p",
    "mean_interval",
    "paired",
    "share_difference",
    "share_interval",
    "welch",
]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Contrast:
    """A difference of two means with its standard error, in Student's t with ``freedom`` degrees of freedom.

    An error of nan: too few draws to know one. paired: whether draws with the same seed were compared.
    """

    value: float
    error: float
    freedom: float
    paired: bool

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The difference with its confidence interval; without ends where there is no error."""
        if math.isnan(self.error) or math.isnan(self.value):
            return Interval(self.value, None, None)
        reach = 0.0 if self.error == 0 else self.error * t_quantile((1 + confidence) / 2, self.freedom)
        return Interval(self.value, self.value - reach, self.value + reach)

    @property
    def p_value(self) -> float:
        """The two-sided p-value for a difference of zero; nan where there is no error."""
        if math.isnan(self.error) or math.isnan(self.value):
            return math.nan
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return two_sided_p(self.value / self.error, self.freedom)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of independent draws with Student's interval; without ends for fewer than two."""
    return _one_sample(values, paired=False).interval(confidence)


def deviation_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The standard deviation of independent draws from a normal distribution with the chi-square interval; without ends
    for fewer than two.
    """
    if len(values) < 2:
        return Interval(math.nan, None, None)
    freedom, deviation = len(values) - 1, math.sqrt(_variance(values))
    if math.isnan(deviation):
        return Interval(deviation, None, None)
    tail = (1 - confidence) / 2
    ends = (deviation * math.sqrt(freedom / chi_square_quantile(one, freedom)) for one in (1 - tail, tail))
    return Interval(deviation, *ends)


def paired(values: Sequence[float], baseline: Sequence[float]) -> Contrast:
    """The mean of ``values - baseline``, draw by draw: those of one seed share what the seed decides."""
    return _one_sample([one - other for one, other in zip(values, baseline, strict=True)], paired=True)


def welch(values: Sequence[float], baseline: Sequence[float]) -> Contrast:
    """The difference of the means of independent draws whose variances may differ (Welch 1947, "The generalization of
    'Student's' problem when several different population variances are involved", Biometrika 34).

    A single draw on one side is taken as known: it has no seed.
    """
    value = fmean(values) - fmean(baseline)
    parts = [(_variance(side) / len(side), len(side) - 1) for side in (values, baseline) if len(side) > 1]
    if not parts:
        return Contrast(value, math.nan, math.nan, paired=False)
    total = sum(part for part, _ in parts)
    squares = sum(part**2 / freedom for part, freedom in parts)
    return Contrast(value, math.sqrt(total), total**2 / squares if squares else math.inf, paired=False)


def share_interval(successes: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """A share with its score interval (Wilson 1927, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22).
    """
    if not total:
        return Interval(math.nan, None, None)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = successes / total, 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    reach = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low = 0.0 if successes == 0 else middle - reach
    return Interval(share, low, 1.0 if successes == total else middle + reach)


def share_difference(
    successes: int, total: int, baseline: int, baseline_total: int, confidence: float = CONFIDENCE
) -> Interval:
    """The difference of two shares from their score intervals (Newcombe 1998, "Interval estimation for the difference
    between independent proportions", Statistics in Medicine 17, method 10).
    """
    one, other = share_interval(successes, total, confidence), share_interval(baseline, baseline_total, confidence)
    value = one.value - other.value
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Interval(value, None, None)
    down = math.hypot(one.value - one.low, other.high - other.value)
    up = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(value, value - down, value + up)


def fisher_p(successes: int, total: int, baseline: int, baseline_total: int) -> float:
    """The two-sided p-value of Fisher's exact test that two shares are equal: the probability of all tables with these
    margins that are no likelier than this one.
    """
    both, hits = total + baseline_total, successes + baseline

    def odds(count: int) -> int:
        return math.comb(total, count) * math.comb(baseline_total, hits - count)

    tables = [odds(count) for count in range(max(0, hits - baseline_total), min(total, hits) + 1)]
    return sum(one for one in tables if one <= odds(successes)) / math.comb(both, hits)


def _one_sample(values: Sequence[float], *, paired: bool) -> Contrast:
    if not values:
        return Contrast(math.nan, math.nan, math.nan, paired)
    if len(values) < 2:
        return Contrast(values[0], math.nan, math.nan, paired)
    error = math.sqrt(_variance(values) / len(values))
    return Contrast(fmean(values), error, len(values) - 1, paired)


def _variance(values: Sequence[float]) -> float:
    return variance(values) if all(map(math.isfinite, values)) else math.nan
