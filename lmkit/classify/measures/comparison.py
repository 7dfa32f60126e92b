"""Is one classifier better than another on the same texts? And is it the texts, or the seeds?

Two sources of chance are named apart (Bouthillier et al. 2021, arXiv 2103.03098). Over texts: another test file, with
these very networks. Over seeds: other trainings, on this very test file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.classify.measures.options import MEASURED, ClassifierOptions
from lmkit.classify.measures.proportions import Pairs, wilson
from lmkit.errors import ConfigError
from lmkit.evaluation.comparison.bootstrap import holm
from lmkit.evaluation.comparison.comparison import Interval
from lmkit.evaluation.comparison.student import t_quantile, two_sided_p

__all__ = ["ClassifierComparison", "Group", "GroupDifference", "compare_classifiers"]

Floats = NDArray[np.float64]
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """One run, or several that differ by their seed. accuracy: their mean and its interval over texts, of a single run
    Wilson's; accuracies: of each run.
    """

    name: str
    accuracy: Interval
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class GroupDifference:
    """A group's mean accuracy minus the first's.

    over_texts: the interval for other test texts, of a pair of single runs that of Newcombe (1998) with the exact
    McNemar test, of groups that of the paired t test on each text's share of runs that are right. over_seeds: the
    interval for other trainings, Welch's (1947), None where a group has one run. p_holm: p_texts after Holm's (1979)
    correction for all the groups. pairs: of two single runs.
    """

    name: str
    over_texts: Interval
    p_texts: float
    p_holm: float
    over_seeds: Interval | None
    p_seeds: float | None
    pairs: Pairs | None


@dataclass(frozen=True)
class ClassifierComparison:
    """Groups of classifiers on one test file, and their differences from the first group."""

    data: str
    texts: int
    confidence: float
    groups: tuple[Group, ...]
    differences: tuple[GroupDifference, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        differences = [
            {**asdict(one), "pairs": None if one.pairs is None else one.pairs._asdict()} for one in self.differences
        ]
        return {**asdict(self), "differences": differences}


def compare_classifiers(
    data: str,
    groups: Mapping[str, Right],
    options: ClassifierOptions = MEASURED,
    notes: Sequence[str] = (),
) -> ClassifierComparison:
    """Compare groups of runs by what each of its R runs is right on, (R, N) of the same N texts; the first is the
    baseline.

    Raises ConfigError for fewer than two groups.
    """
    if len(groups) < 2:
        raise ConfigError("A comparison needs two runs or more, as in `lmkit classify compare A B --data test.csv`.")
    first, *others = groups
    found = [_difference(name, groups[first], groups[name], options.confidence) for name in others]
    p_holm = holm([one.p_texts for one in found])
    return ClassifierComparison(
        data,
        groups[first].shape[1],
        options.confidence,
        tuple(_group(name, runs, options.confidence) for name, runs in groups.items()),
        tuple(replace(one, p_holm=p) for one, p in zip(found, p_holm, strict=True)),
        tuple(notes),
    )


def _group(name: str, runs: Right, confidence: float) -> Group:
    accuracies = tuple(runs.mean(1).tolist())
    if len(runs) == 1:
        return Group(name, wilson(int(runs.sum()), runs.shape[1], confidence), accuracies)
    return Group(name, _over_texts(runs.mean(0), confidence)[0], accuracies)


def _difference(name: str, first: Right, second: Right, confidence: float) -> GroupDifference:
    pairs = Pairs.of(first[0], second[0]) if len(first) == len(second) == 1 else None
    if pairs is None:
        over_texts, p_texts = _over_texts(second.mean(0) - first.mean(0), confidence)
    else:
        over_texts, p_texts = pairs.difference(confidence), pairs.p_value
    over_seeds, p_seeds = _over_seeds(first.mean(1), second.mean(1), confidence)
    return GroupDifference(name, over_texts, p_texts, p_texts, over_seeds, p_seeds, pairs)


def _over_texts(values: Floats, confidence: float) -> tuple[Interval, float]:
    """The mean of independent values (N,), its t interval, and the p-value of a mean of zero."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return _t_interval(float(values.mean()), error, max(1, len(values) - 1), confidence)


def _over_seeds(first: Floats, second: Floats, confidence: float) -> tuple[Interval | None, float | None]:
    """Welch's interval and p-value for the difference of the means of two groups of runs."""
    if min(len(first), len(second)) < 2:
        return None, None
    a, b = first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1)) if a + b > 0 else 1.0
    return _t_interval(float(second.mean() - first.mean()), math.sqrt(a + b), float(freedom), confidence)


def _t_interval(value: float, error: float, freedom: float, confidence: float) -> tuple[Interval, float]:
    if error == 0:  # the same in every text, or in every run
        return Interval(value, value, value), 1.0 if value == 0 else 0.0
    if math.isinf(error):
        return Interval(value, None, None), 1.0
    reach = t_quantile((1 + confidence) / 2, freedom) * error
    return Interval(value, value - reach, value + reach), two_sided_p(value / error, freedom)
