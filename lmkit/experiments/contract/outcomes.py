"""What all runs of an experiment found, and the statistics over their seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lmkit.evaluation.comparison.bootstrap import holm
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import (
    CONFIDENCE,
    Contrast,
    mean_interval,
    paired,
    share_interval,
    welch,
)
from lmkit.experiments.contract.arm import Arm, Choice
from lmkit.experiments.contract.scale import Scale

__all__ = ["Comparison", "Curve", "Outcomes", "Run", "holm_known"]


@dataclass(frozen=True)
class Run:
    """A run that was made: whose, with which seed and choice, the values that ``measure`` gave, and the machine."""

    arm: str
    choice: Choice
    seed: int
    tuning: bool
    values: Mapping[str, Any]
    machine: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the machine."""
        own = {"arm": self.arm, "choice": dict(self.choice), "seed": self.seed, "tuning": self.tuning}
        return {**own, "values": dict(self.values)}


class Curve(NamedTuple):
    """The mean of lists over seeds, entry by entry, with Student's interval."""

    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Comparison:
    """An arm against another: the difference of their means (arm - baseline), its 95 % interval, and what is corrected
    for the number of comparisons that were made together: the p-value by Holm, the interval by Bonferroni.
    """

    arm: str
    baseline: str
    contrast: Contrast
    interval: Interval
    corrected: Interval
    p_holm: float

    @property
    def advantage(self) -> Interval:
        """How much lower the arm is than the baseline, with the corrected interval: what ``decide`` takes."""
        return self.corrected.map(-1.0)


@dataclass(frozen=True)
class Outcomes:
    """What all runs of an experiment found. Runs that only served to choose are apart from those that count."""

    scale: Scale
    arms: tuple[Arm, ...]
    runs: tuple[Run, ...]
    tuning: tuple[Run, ...] = ()

    def of(self, arm: str) -> list[Run]:
        """The runs of an arm, by seed."""
        found = sorted((run for run in self.runs if run.arm == arm), key=lambda run: run.seed)
        assert found, f"no arm {arm}"
        return found

    def choice(self, arm: str) -> Choice:
        """What was chosen for an arm on validation; empty where nothing was to be chosen."""
        return self.of(arm)[0].choice

    def values(self, arm: str, name: str) -> list[float]:
        """A number of every run of an arm, by seed; nan where a run has none, as after a loss that was not finite."""
        return [_number(run.values.get(name)) for run in self.of(arm)]

    def mean(self, arm: str, name: str) -> Interval:
        """The mean of a number over an arm's seeds with Student's interval."""
        return mean_interval(self.values(arm, name))

    def median(self, arm: str, name: str) -> float:
        """The median of a number over an arm's seeds: for clocks, which have outliers."""
        return float(np.median(self.values(arm, name)))

    def share(self, arm: str, name: str) -> Interval:
        """The share of an arm's runs in which something is so (true, or 1), with Wilson's interval."""
        values = self.values(arm, name)
        return share_interval(sum(value == 1 for value in values), len(values))

    def curve(self, arm: str, name: str) -> Curve:
        """The mean of an arm's lists over seeds, entry by entry; lists of unequal length up to the shortest."""
        lists = [run.values[name] for run in self.of(arm) if run.values.get(name) is not None]
        columns = [mean_interval([_number(value) for value in column]) for column in zip(*lists, strict=False)]
        ends = [(one.value, _or(one.low, one.value), _or(one.high, one.value)) for one in columns]
        return Curve(*([end[number] for end in ends] for number in range(3)))

    def compare(self, pairs: Sequence[tuple[str, str]], name: str, *, paired: bool) -> list[Comparison]:
        """Arms against baselines, all of them together one family of tests.

        paired: whether a seed gives both arms of each pair the same first weights and the same order of the text, as
        where they differ in dropout; else Welch's test. With another network a seed means other weights.
        """
        contrasts = [self._contrast(arm, baseline, name, paired) for arm, baseline in pairs]
        corrected = holm_known([one.p_value for one in contrasts])
        narrow = 1 - (1 - CONFIDENCE) / max(1, len(pairs))
        return [
            Comparison(arm, baseline, one, one.interval(), one.interval(narrow), p)
            for (arm, baseline), one, p in zip(pairs, contrasts, corrected, strict=True)
        ]

    def _contrast(self, arm: str, baseline: str, name: str, together: bool) -> Contrast:
        values, others = self.values(arm, name), self.values(baseline, name)
        if together:
            assert [run.seed for run in self.of(arm)] == [run.seed for run in self.of(baseline)]
            return paired(values, others)
        if not any(one.seeded for one in self.arms if one.name in (arm, baseline)):
            return Contrast(values[0] - others[0], 0.0, math.inf, paired=False)
        return welch(values, others)


def holm_known(p_values: Sequence[float]) -> list[float]:
    """Holm's correction, in which a p-value that is unknown counts as one."""
    corrected = holm([1.0 if math.isnan(p) else p for p in p_values])
    return [math.nan if math.isnan(p) else found for p, found in zip(p_values, corrected, strict=True)]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
