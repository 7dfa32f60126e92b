"""Intervals and the paired test: their level and coverage under dependence, and Student's t."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmkit.evaluation.comparison.bootstrap import BlockBootstrap, default_block, holm, paired_test
from lmkit.evaluation.comparison.student import t_quantile, two_sided_p

DRAWS, TOKENS = 1000, 8_000


def autoregressive(rho: float, draws: int = DRAWS, seed: int = 1) -> np.ndarray:
    """Mean zero, the correlation of neighbours rho: (draws, tokens)."""
    noise = np.random.default_rng(seed).standard_normal((TOKENS, draws))
    noise[0] /= math.sqrt(1 - rho**2)
    for step in range(1, TOKENS):
        noise[step] += rho * noise[step - 1]
    return noise.T


def heavy_tailed() -> np.ndarray:
    """Mostly nothing, now and then a large skewed difference: where models differ, it is on few tokens."""
    return np.random.default_rng(2).gamma(0.1, size=(DRAWS, TOKENS)) - 0.1


def topics(length: int = 50) -> np.ndarray:
    """A level that stays for stretches of random length, and twice as much noise on each token."""
    draw = np.random.default_rng(3)
    changes = draw.random((DRAWS, TOKENS)) < 1 / length
    begins = np.maximum.accumulate(np.where(changes, np.arange(TOKENS), 0), axis=1)
    levels = np.take_along_axis(draw.standard_normal((DRAWS, TOKENS)), begins, axis=1)
    return levels + 2 * draw.standard_normal((DRAWS, TOKENS))


def block_sums(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums (draws, blocks) and sizes (blocks,) of default blocks."""
    number = TOKENS // default_block(TOKENS)
    starts = np.searchsorted(np.arange(TOKENS) * number // TOKENS, np.arange(number))
    return np.add.reduceat(series, starts, axis=1), np.diff(np.append(starts, TOKENS)).astype(float)


def rejections(series: np.ndarray, level: float = 0.05) -> float:
    sums, sizes = block_sums(series)
    return float(np.mean([paired_test(row, sizes)[1] < level for row in sums]))


def coverage(series: np.ndarray, confidence: float = 0.95) -> float:
    sums, sizes = block_sums(series)
    bootstrap = BlockBootstrap(len(sizes), resamples=1000, confidence=confidence, seed=0)
    low, high = bootstrap.intervals(sums.T, np.tile(sizes[:, None], (1, len(sums))))
    return float(np.mean((low <= 0) & (high >= 0)))


@pytest.fixture(scope="module")
def null() -> dict[str, np.ndarray]:
    """Series without a difference, by how their tokens hang together."""
    return {"ar 0.9": autoregressive(0.9), "heavy tails": heavy_tailed(), "topics": topics()}


@pytest.mark.parametrize("kind", ["ar 0.9", "heavy tails", "topics"])
def test_the_test_keeps_its_level_where_tokens_hang_together(null, kind: str):
    # 1,000 draws at 5 %: a rate outside 3-7 % has a probability of 0.4 %
    assert 0.03 <= rejections(null[kind]) <= 0.07


def test_a_test_that_takes_tokens_for_independent_does_not(null):
    series = null["ar 0.9"]
    z = series.mean(axis=1) / (series.std(axis=1) / math.sqrt(TOKENS))
    assert np.mean(np.abs(z) > 1.96) > 0.5


@pytest.mark.parametrize("kind", ["ar 0.9", "heavy tails", "topics"])
def test_intervals_cover_as_often_as_they_say(null, kind: str):
    assert coverage(null[kind]) == pytest.approx(0.95, abs=0.02)
    assert coverage(null[kind], 0.8) == pytest.approx(0.8, abs=0.04)


def test_a_real_difference_is_found(null):
    # the standard error of the mean of an AR(1) is sd / (1 - rho) / sqrt(N): 0.0707 here
    shifted = null["ar 0.9"] + 4 * 10 / math.sqrt(TOKENS)
    assert rejections(shifted) > 0.9
    assert rejections(null["ar 0.9"] + 2 * 10 / math.sqrt(TOKENS)) > 0.35


def test_blocks_are_few_and_long():
    assert default_block(217_646) == 13_602
    assert 1000 // default_block(1000) == 10
    assert default_block(5) == 1
    assert all(size // default_block(size) >= 10 for size in range(10, 5000))


def test_draws_are_the_same_for_the_same_seed():
    sums = np.random.default_rng(0).standard_normal((20, 3))
    sizes = np.ones((20, 3))

    def ends(seed: int) -> np.ndarray:
        return BlockBootstrap(20, resamples=500, confidence=0.95, seed=seed).intervals(sums, sizes)

    np.testing.assert_array_equal(ends(1), ends(1))
    assert not np.array_equal(ends(1), ends(2))


def test_the_interval_of_symmetric_data_is_the_t_interval():
    values = np.random.default_rng(4).standard_normal(16)
    values = np.concatenate([values, -values]) + 3
    low, high = BlockBootstrap(32, resamples=40_000, confidence=0.95, seed=0).intervals(
        values[:, None], np.ones((32, 1))
    )[:, 0]
    wide = t_quantile(0.975, 31) * values.std(ddof=1) / math.sqrt(32)
    assert (low, high) == pytest.approx((3 - wide, 3 + wide), abs=0.02)


def test_a_ratio_that_few_blocks_know_has_no_interval():
    sums, sizes = np.zeros((16, 2)), np.zeros((16, 2))
    sums[:4, 0], sizes[:4, 0] = 1.0, 1.0
    sums[:5, 1], sizes[:5, 1] = np.arange(5), 1.0
    low, high = BlockBootstrap(16, resamples=200, confidence=0.9, seed=0).intervals(sums, sizes)
    assert math.isnan(low[0]) and math.isnan(high[0])
    assert 0 <= low[1] < 2 < high[1] <= 4


def test_the_paired_test_is_the_t_test_for_equal_blocks():
    values = np.array([1.0, 2.0, 0.5, -0.3, 1.7, 0.9])
    t, p = paired_test(values * 10, np.full(6, 10.0))
    assert t == pytest.approx(values.mean() / (values.std(ddof=1) / math.sqrt(6)))
    assert p == pytest.approx(two_sided_p(t, 5))


def test_differences_that_never_vary():
    assert paired_test(np.zeros(8), np.ones(8)) == (0.0, 1.0)
    assert paired_test(np.full(8, -0.5), np.ones(8)) == (-math.inf, 0.0)


def test_student_t_as_in_the_tables():
    # Abramowitz & Stegun 1964, table 26.10; Cauchy and normal limits
    table = {(0.975, 10): 2.228, (0.995, 5): 4.032, (0.95, 30): 1.697, (0.975, 1): 12.706, (0.9995, 20): 3.850}
    for (probability, freedom), value in table.items():
        assert t_quantile(probability, freedom) == pytest.approx(value, abs=5e-4)
        assert two_sided_p(value, freedom) == pytest.approx(2 * (1 - probability), rel=2e-3)
    assert two_sided_p(1.0, 1) == pytest.approx(0.5)
    assert two_sided_p(1.959964, 10**7) == pytest.approx(0.05, rel=1e-5)
    assert two_sided_p(0.0, 3) == 1.0
    assert two_sided_p(math.inf, 3) == 0.0
    assert math.isnan(two_sided_p(math.nan, 3))
    assert t_quantile(0.5, 4) == pytest.approx(0.0, abs=1e-6)


def test_holm_multiplies_the_smallest_by_their_number():
    assert holm([0.03, 0.01, 0.5]) == pytest.approx([0.06, 0.03, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
