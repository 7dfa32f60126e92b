"""Is one classifier better than another on the same texts? And is it the texts, or the seeds?

Two sources of chance are named apart (Bouthillier et al. 2021, arXiv 2103.03098). Over texts: another test file, with
these very networks. Over seeds: other trainings, on this very test file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.classify.measures.options import MEASURED, ClassifierOptions
from lmkit.classify.measures.pairs import Pairs
from lmkit.errors import ConfigError
from lmkit.evaluation.comparison.bootstrap import holm
from lmkit.evaluation.comparison.groups import Pairing, contrast_of_runs
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import mean_interval, paired, share_interval

__all__ = ["ClassifierComparison", "Group", "GroupDifference", "compare_classifiers"]

Right = NDArray[np.bool_]
ALONE = Pairing([], "")


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
    interval for other trainings, None where a group of one run depends on a seed. seeds_paired: whether runs with the
    same seed were compared, each with its own; else that interval is Welch's (1947), and ``unpaired`` says why. p_holm:
    p_texts after Holm's (1979) correction for all the groups. pairs: of two single runs.
    """

    name: str
    over_texts: Interval
    p_texts: float
    p_holm: float
    over_seeds: Interval | None
    p_seeds: float | None
    pairs: Pairs | None
    seeds_paired: bool = False
    unpaired: str = ""


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
    *,
    without_seed: Collection[str] = (),
    pairings: Mapping[str, Pairing] | None = None,
    notes: Sequence[str] = (),
) -> ClassifierComparison:
    """Compare groups of runs by what each of its R runs is right on, (R, N) of the same N texts; the first is the
    baseline. without_seed: groups of one run that no seed decides, so it is known what other seeds would give.
    pairings: which runs of a group and of the baseline have the same seed (default: none).

    Raises ConfigError for fewer than two groups.
    """
    if len(groups) < 2:
        raise ConfigError("A comparison needs two runs or more, as in `lmkit classify compare A B --data test.csv`.")
    first, *others = groups
    found = []
    for name in others:
        row = _difference(name, groups[first], groups[name], options.confidence)
        if _knows_seeds(first, name, groups, without_seed):
            pairing = (pairings or {}).get(name, ALONE)
            row = _with_seeds(row, groups[first], groups[name], pairing, options.confidence)
        found.append(row)
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
        return Group(name, share_interval(int(runs.sum()), runs.shape[1], confidence), accuracies)
    return Group(name, mean_interval(runs.mean(0).tolist(), confidence), accuracies)


def _difference(name: str, first: Right, second: Right, confidence: float) -> GroupDifference:
    pairs = Pairs.of(first[0], second[0]) if len(first) == len(second) == 1 else None
    if pairs is None:
        by_texts = paired(second.mean(0).tolist(), first.mean(0).tolist())
        over_texts = by_texts.interval(confidence)
        p_texts = 1.0 if math.isnan(by_texts.p_value) else by_texts.p_value  # of a single text
    else:
        over_texts, p_texts = pairs.difference(confidence), pairs.p_value
    return GroupDifference(name, over_texts, p_texts, p_texts, None, None, pairs)


def _with_seeds(
    row: GroupDifference, first: Right, second: Right, pairing: Pairing, confidence: float
) -> GroupDifference:
    """With the interval and the test over seeds."""
    found = contrast_of_runs(second.mean(1).tolist(), first.mean(1).tolist(), pairing)
    return replace(
        row,
        over_seeds=found.interval(confidence),
        p_seeds=found.p_value,
        seeds_paired=found.paired,
        unpaired=pairing.unpaired,
    )


def _knows_seeds(name: str, other: str, groups: Mapping[str, Right], without_seed: Collection[str]) -> bool:
    """Whether two groups show how much the seed matters: at least one of them, the other too or it has no seed."""
    single = [one for one in (name, other) if len(groups[one]) < 2]
    return len(single) < 2 and all(one in without_seed for one in single)
