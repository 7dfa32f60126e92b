"""What an experiment says of a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lmkit.evaluation.comparison.interval import Interval

__all__ = ["Verdict", "Word", "decide", "decide_equal", "together"]

LEVEL = 0.05


class Word(StrEnum):
    """The verdicts that there are."""

    HOLDS = "holds"
    PARTLY = "partly"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """What was found of a claim, by its number: a word, and the reason in sentences with their numbers.

    What was not seen is "not within N updates", never "cannot": an experiment has an end.
    """

    claim: int
    word: Word
    because: str

    def __post_init__(self) -> None:
        assert "cannot" not in self.because, self.because
        assert self.because.endswith("."), self.because


def decide(advantage: Interval, p_value: float, least: float) -> Word:
    """Whether there is an advantage of at least ``least``, from its interval and the p-value for none.

    holds: significant, and as large as that. partly: significant, but smaller. refuted: the whole interval is below
    ``least``. undecided: neither; "not significant" is no refutation. Give intervals and p-values that are corrected
    for the number of comparisons.
    """
    if advantage.low is None or advantage.high is None or math.isnan(p_value):
        return Word.UNDECIDED
    if advantage.value > 0 and p_value < LEVEL:
        return Word.HOLDS if advantage.value >= least else Word.PARTLY
    return Word.REFUTED if advantage.high < least else Word.UNDECIDED


def decide_equal(difference: Interval, least: float) -> Word:
    """Whether there is no difference that matters: holds where the whole interval is closer to zero than ``least``,
    refuted where all of it is further away on one side.
    """
    if difference.low is None or difference.high is None:
        return Word.UNDECIDED
    if -least < difference.low and difference.high < least:
        return Word.HOLDS
    return Word.REFUTED if difference.low >= least or difference.high <= -least else Word.UNDECIDED


def together(words: Sequence[Word]) -> Word:
    """The verdict on a claim that says several things, each with its own."""
    kinds = set(words)
    if len(kinds) == 1:
        return next(iter(kinds))
    if Word.HOLDS in kinds or Word.PARTLY in kinds:
        return Word.PARTLY
    return Word.UNDECIDED
