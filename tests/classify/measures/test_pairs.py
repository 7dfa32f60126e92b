"""Intervals of paired differences are the published ones; the paired test is a coin's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.classify.measures.pairs import Pairs

CELLS = st.tuples(*[st.integers(0, 30)] * 4).filter(any)


@pytest.mark.parametrize(
    ("pairs", "low", "high", "places"),
    [
        (Pairs(59, 16, 6, 80), -0.1186, -0.0046, 4),  # Fagerland, Lydersen & Laake 2017, data of Cavo et al. 2012
        (Pairs(14, 0, 5, 22), 0.011, 0.226, 3),  # Altman et al. 2000, Statistics with Confidence, page 52
    ],
)
def test_intervals_of_differences_are_published_ones(pairs, low, high, places):
    found: Any = pairs.difference(0.95)
    assert found.value == pytest.approx((pairs.second - pairs.first) / pairs.total)
    assert (round(found.low, places), round(found.high, places)) == (low, high)


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        (1, 7, 2 * (1 + 8) / 2**8),  # Fagerland et al. 2017, Bentur et al. 2009: 0.0703
        (0, 5, 2 / 2**5),
        (3, 3, 1.0),
        (2, 3, 1.0),
        (0, 0, 1.0),
        (400, 500, 2 * sum(math.comb(900, k) for k in range(401)) / 2**900),
    ],
)
def test_the_exact_mcnemar_test_counts_coins(first, second, p_value):
    for pairs in (Pairs(9, first, second, 4), Pairs(4, second, first, 9)):
        assert pairs.p_value == pytest.approx(p_value, rel=1e-9)


@given(CELLS)
def test_classifiers_change_places(cells):
    both, first, second, neither = cells
    found: Any = Pairs(*cells).difference(0.9)
    mirrored: Any = Pairs(both, second, first, neither).difference(0.9)
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_pairs_count_what_each_is_right_on():
    first, second = np.array([1, 1, 0, 0, 0], dtype=bool), np.array([1, 0, 1, 0, 0], dtype=bool)
    assert Pairs.of(first, second) == (1, 1, 1, 2)
