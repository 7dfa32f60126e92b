"""A comparison of classifiers: single runs by pairs, groups of seeds over texts and over seeds."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from lmkit.classify.measures.comparison import compare_classifiers
from lmkit.classify.measures.pairs import Pairs
from lmkit.errors import ConfigError
from lmkit.evaluation.comparison.groups import Pairing
from lmkit.evaluation.comparison.samples import welch

RIGHT: Any = np.random.default_rng(5).random((6, 40)) < 0.7


def compare(**groups: Any) -> Any:
    return compare_classifiers("test.csv", groups)


def test_two_runs_are_compared_text_by_text():
    found = compare(a=RIGHT[:1], b=RIGHT[1:2])
    (row,) = found.differences
    pairs = Pairs.of(RIGHT[0], RIGHT[1])
    assert (row.pairs, row.over_texts, row.p_texts) == (pairs, pairs.difference(0.95), pairs.p_value)
    assert (row.over_seeds, row.p_seeds) == (None, None)
    assert [group.accuracies for group in found.groups] == [(RIGHT[0].mean(),), (RIGHT[1].mean(),)]
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["differences"][0]["pairs"]["both"] == pairs.both


def test_groups_of_seeds_have_two_intervals():
    """Welch's by hand: accuracies of three and two runs; the other is a t interval of the mean difference of texts."""
    first, second = RIGHT[:3], RIGHT[3:5]
    (row,) = compare(a=first, b=second).differences
    mine, theirs = first.mean(1), second.mean(1)
    a, b = mine.var(ddof=1) / 3, theirs.var(ddof=1) / 2
    assert row.over_seeds.value == pytest.approx(theirs.mean() - mine.mean())
    freedom = (a + b) ** 2 / (a**2 / 2 + b**2)
    assert 1 < freedom < 3
    reach = row.over_seeds.high - row.over_seeds.value
    # the t distribution with 2 and with 1 degrees of freedom has 4.303 and 12.706 at 97.5 %
    assert 3.182 < reach / math.sqrt(a + b) < 12.706
    differences = second.mean(0) - first.mean(0)
    error = differences.std(ddof=1) / math.sqrt(40)
    assert (row.over_texts.high - row.over_texts.low) / 2 == pytest.approx(2.0227 * error, rel=1e-4)  # t, 39 degrees
    assert row.over_texts.value == pytest.approx(row.over_seeds.value)
    assert row.pairs is None


def test_welch_agrees_with_a_published_example():
    """Both groups of one size and variance: the degrees of freedom are those of the pooled test, 2 (n - 1) = 4, whose t
    has 2.776 at 97.5 %.
    """
    runs = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], dtype=bool)
    (row,) = compare(a=runs, b=runs).differences
    assert row.over_seeds.high == pytest.approx(2.77645 * math.sqrt(2 * 0.0625 / 3), rel=1e-5)
    assert (row.over_seeds.value, row.p_seeds, row.p_texts) == (0.0, 1.0, 1.0)


def test_runs_with_the_same_seeds_are_pairs():
    """By hand: right on 2, 1, 3 of 4 texts, their partners on 3, 2, 3. The differences 1/4, 1/4 and 0 have the mean 1/6
    and the standard error 1/12, so t is 2. With 2 degrees of freedom t has 4.30265 at 97.5 %, and p is
    1 - t / sqrt(t^2 + 2).
    """
    first = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], dtype=bool)
    partners = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1]], dtype=bool)
    groups = {"a": first, "b": partners[[2, 0, 1]]}  # the order that runs are given in
    pairing = {"b": Pairing([(0, 2), (1, 0), (2, 1)], "")}
    (row,) = compare_classifiers("test.csv", groups, pairings=pairing).differences
    assert row.over_seeds is not None and row.over_seeds.low is not None
    assert (row.seeds_paired, row.unpaired) == (True, "")
    assert row.over_seeds.value == pytest.approx(1 / 6)
    assert row.over_seeds.low == pytest.approx(1 / 6 - 4.30265 / 12, abs=1e-6)
    assert row.p_seeds == pytest.approx(1 - 2 / math.sqrt(6))
    alone = {"b": Pairing([], "because the groups have different seeds")}
    (other,) = compare_classifiers("test.csv", groups, pairings=alone).differences
    means = [[0.75, 0.75, 0.5], [0.5, 0.25, 0.75]]
    assert other.over_seeds == welch(*means).interval()
    assert (other.seeds_paired, other.unpaired) == (False, "because the groups have different seeds")
    assert other.over_texts == row.over_texts


def test_what_has_no_seed_is_known_without_others():
    groups = {"a": RIGHT[:3], "counts": RIGHT[3:4], "alone": RIGHT[4:5]}
    counts, alone = compare_classifiers("test.csv", groups, without_seed=["counts"]).differences
    assert counts.over_seeds == welch(RIGHT[3:4].mean(1).tolist(), RIGHT[:3].mean(1).tolist()).interval()
    assert alone.over_seeds is None  # other seeds could give it anything
    (both,) = compare_classifiers(
        "test.csv", {"a": RIGHT[:1], "counts": RIGHT[3:4]}, without_seed=["counts"]
    ).differences
    assert both.over_seeds is None


def test_one_text_tells_nothing():
    (row,) = compare(a=RIGHT[:2, :1], b=RIGHT[2:4, :1]).differences
    assert (row.p_texts, row.over_texts.low) == (1.0, None)


def test_the_order_of_texts_and_of_seeds_changes_nothing():
    order = np.random.default_rng(0).permutation(40)
    expected = compare(a=RIGHT[:3], b=RIGHT[3:]).differences[0]
    found = compare(a=RIGHT[[2, 0, 1]][:, order], b=RIGHT[[5, 3, 4]][:, order]).differences[0]
    for mine, theirs in ((found.over_texts, expected.over_texts), (found.over_seeds, expected.over_seeds)):
        assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high))


def test_several_groups_are_corrected_for_their_number():
    nothing = np.zeros((1, 8), dtype=bool)
    found = compare(a=nothing, b=~nothing, c=RIGHT[:1, :8]).differences
    assert found[0].p_texts == pytest.approx(2 / 2**8)
    assert found[0].p_holm == pytest.approx(4 / 2**8)
    assert found[1].p_holm == found[1].p_texts


def test_equal_runs_differ_by_nothing():
    (row,) = compare(a=RIGHT[:2], b=RIGHT[:2][::-1]).differences
    assert (row.over_texts.value, row.over_texts.low, row.p_texts) == (0.0, 0.0, 1.0)


def test_one_run_is_no_comparison():
    with pytest.raises(ConfigError, match="two runs or more"):
        compare(a=RIGHT[:1])
