"""Intervals and tests over a few draws are those of the published examples."""

from __future__ import annotations

import math

import pytest

from lmkit.evaluation.comparison.chi_square import chi_square_quantile
from lmkit.evaluation.comparison.samples import (
    deviation_interval,
    fisher_p,
    mean_interval,
    paired,
    share_difference,
    share_interval,
    welch,
)

# Extra hours of sleep with two drugs, ten patients: Student's own data (1908), with what R's t.test gives for them.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_a_paired_difference_is_students():
    found = paired(FIRST, SECOND)
    assert (found.value / found.error, found.freedom) == pytest.approx((-4.0621, 9), abs=1e-4)
    assert found.p_value == pytest.approx(0.002833, abs=1e-6)
    interval = found.interval()
    assert (interval.value, interval.low, interval.high) == pytest.approx((-1.58, -2.4598858, -0.7001142), abs=1e-7)


def test_an_unpaired_difference_is_welchs():
    found = welch(FIRST, SECOND)
    assert (found.value / found.error, found.freedom) == pytest.approx((-1.8608, 17.776), abs=1e-3)
    assert found.p_value == pytest.approx(0.07939, abs=1e-5)
    interval = found.interval()
    assert (interval.low, interval.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-7)


def test_a_mean_has_students_interval_and_a_single_draw_has_none():
    interval = mean_interval(FIRST)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.75, -0.5297804, 2.0297804), abs=1e-6)
    assert mean_interval([2.5]).low is None
    assert math.isnan(mean_interval([]).value)
    assert math.isnan(welch([1.0], [2.0]).p_value)


def test_a_single_value_beside_draws_is_taken_as_known():
    found, shifted = welch(FIRST, [0.25]), paired(FIRST, [0.25] * 10)
    assert (found.value, found.error, found.freedom) == pytest.approx((0.5, shifted.error, 9))


def test_a_deviation_has_the_interval_of_chi_square():
    for probability, freedom, value in (
        (0.975, 4, 11.1433),
        (0.025, 4, 0.484419),
        (0.95, 1, 3.84146),
        (0.5, 10, 9.34182),
    ):
        assert chi_square_quantile(probability, freedom) == pytest.approx(value, abs=5e-6 * value)
    interval = deviation_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert interval.value == pytest.approx(math.sqrt(2.5))
    assert (interval.low, interval.high) == pytest.approx((math.sqrt(10 / 11.1433), math.sqrt(10 / 0.484419)), rel=1e-5)
    assert deviation_interval([1.0]).low is None
    assert deviation_interval([1.0, math.nan]).low is None


def test_equal_draws_differ_for_certain_or_not_at_all():
    assert paired([2.0, 3.0], [1.0, 2.0]).p_value == 0.0
    assert welch([1.0, 1.0], [1.0, 1.0]).p_value == 1.0
    assert paired([2.0, 3.0], [1.0, 2.0]).interval().low == 1.0


def test_a_draw_that_is_not_finite_leaves_no_interval():
    assert welch([1.0, math.inf], [1.0, 2.0]).interval().low is None
    assert paired([1.0, math.nan], [1.0, 2.0]).interval().low is None


def test_a_share_has_the_score_interval_of_wilson():
    # 81 of 263: the example of Newcombe (1998, "Two-sided confidence intervals for the single proportion")
    interval = share_interval(81, 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    nothing = share_interval(0, 20)
    assert (nothing.low, nothing.high) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert share_interval(20, 20).high == 1.0


def test_a_difference_of_shares_has_the_interval_of_newcombe():
    # 56 of 70 against 48 of 80: Newcombe (1998), table II, method 10
    interval = share_difference(56, 70, 48, 80)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_fishers_test_of_the_tea_and_of_tables_alike():
    assert fisher_p(3, 4, 1, 4) == pytest.approx(0.4857, abs=5e-5)
    assert fisher_p(5, 10, 5, 10) == 1.0
    assert fisher_p(20, 20, 0, 20) == pytest.approx(2 / math.comb(40, 20))
