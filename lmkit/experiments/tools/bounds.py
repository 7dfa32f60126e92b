"""On which side of a bound an interval lies as a whole."""

from __future__ import annotations

from lmkit.evaluation.comparison.interval import Interval
from lmkit.experiments.contract.verdict import Word

__all__ = ["above", "below", "is_above", "is_below"]


def above(found: Interval, bound: float) -> bool:
    """Whether the whole interval is above; never without ends."""
    return found.low is not None and found.low > bound


def below(found: Interval, bound: float) -> bool:
    """Whether the whole interval is below; never without ends."""
    return found.high is not None and found.high < bound


def is_below(found: Interval, bound: float) -> Word:
    """The word on a claim that something is below a bound."""
    return Word.HOLDS if below(found, bound) else Word.REFUTED if above(found, bound) else Word.UNDECIDED


def is_above(found: Interval, bound: float) -> Word:
    """The word on a claim that something is above a bound."""
    return Word.HOLDS if above(found, bound) else Word.REFUTED if below(found, bound) else Word.UNDECIDED
