"""On which side of a bound an interval lies as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import CONFIDENCE, mean_interval
from lmkit.experiments.contract.verdict import Word

__all__ = ["above", "below", "corrected_mean", "is_above", "is_below"]


def is_above(found: Interval, bound: float) -> bool:
    """Whether the whole interval is above; never without ends."""
    return found.low is not None and found.low > bound


def is_below(found: Interval, bound: float) -> bool:
    """Whether the whole interval is below; never without ends."""
    return found.high is not None and found.high < bound


def above(found: Interval, bound: float) -> Word:
    """The word on a claim that something is above a bound; undecided where the interval is on both sides."""
    return Word.HOLDS if is_above(found, bound) else Word.REFUTED if is_below(found, bound) else Word.UNDECIDED


def below(found: Interval, bound: float) -> Word:
    """The word on a claim that something is below a bound."""
    return Word.HOLDS if is_below(found, bound) else Word.REFUTED if is_above(found, bound) else Word.UNDECIDED


def corrected_mean(values: Sequence[float], number: int) -> Interval:
    """The mean over seeds with an interval that is corrected for a number of judgements (Bonferroni)."""
    return mean_interval(values, 1 - (1 - CONFIDENCE) / number)
