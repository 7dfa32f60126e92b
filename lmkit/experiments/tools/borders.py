"""On which side of a border a mean lies."""

from __future__ import annotations

from collections.abc import Sequence

from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import CONFIDENCE, mean_interval
from lmkit.experiments.contract.verdict import Word

__all__ = ["above", "below", "corrected_mean"]


def above(value: Interval, border: float) -> Word:
    """holds: the whole interval is above the border; refuted: all of it is below; else undecided."""
    if value.low is None or value.high is None:
        return Word.UNDECIDED
    return Word.HOLDS if value.low > border else Word.REFUTED if value.high < border else Word.UNDECIDED


def below(value: Interval, border: float) -> Word:
    """The same the other way round."""
    return above(value.map(-1.0), -border)


def corrected_mean(values: Sequence[float], number: int) -> Interval:
    """The mean over seeds with an interval that is corrected for a number of judgements (Bonferroni)."""
    return mean_interval(values, 1 - (1 - CONFIDENCE) / number)
