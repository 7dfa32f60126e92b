"""Two groups of runs: their means over the text, and their spread over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmkit.config import Config
from lmkit.evaluation.comparison.alignment import Units
from lmkit.evaluation.comparison.groups import are_pairs, group_units, over_seeds
from lmkit.evaluation.comparison.samples import paired, welch

LOSSES = np.random.default_rng(3).gamma(2.0, size=(5, 40))
SIZES = np.ones(40, dtype=np.int64)
UNITS = Units("token", LOSSES, SIZES, SIZES, None)


def test_seeds_are_compared_by_the_means_of_their_runs():
    means = LOSSES.mean(axis=1).tolist()
    found = over_seeds(UNITS, 2, pairs=False, confidence=0.9)
    expected = welch(means[2:], means[:2])
    assert found.baseline_losses + found.losses == pytest.approx(means)
    assert found.difference.low == pytest.approx(expected.interval(0.9).low)
    assert found.p_value == pytest.approx(expected.p_value)
    four = Units("span", LOSSES[:4], 2 * SIZES, SIZES, None)
    pair = over_seeds(four, 2, pairs=True, confidence=0.95)
    bits = [mean / 2 / math.log(2) for mean in means]
    assert pair.difference.value == pytest.approx(paired(bits[2:4], bits[:2]).value)
    assert pair.paired


def test_one_run_in_a_group_says_nothing_of_seeds():
    found = over_seeds(UNITS, 1, pairs=False, confidence=0.95)
    assert found.difference.low is None
    assert math.isnan(found.p_value)


def test_a_group_stands_for_the_mean_of_its_runs():
    means = group_units(UNITS, 2).losses
    np.testing.assert_allclose(means, [LOSSES[:2].mean(axis=0), LOSSES[2:].mean(axis=0)])


@pytest.mark.parametrize(
    ("change", "pairs"),
    [
        ({"lr": 0.5, "threads": 3}, True),
        ({"dropout": 0.5}, True),
        ({"init_seed": 1, "data_seed": 1}, True),
        ({"seed": 2}, False),
        ({"data_seed": 2}, False),
        ({"hidden_size": 8}, False),
        ({"window": 8}, False),
        ({"truncation": "artbp"}, False),
        ({"min_count": 2}, False),
    ],
    ids=str,
)
def test_runs_are_pairs_where_weights_and_order_are_the_same(change: dict[str, float], pairs: bool):
    assert are_pairs([Config()], [Config().override(change)]) == pairs
    assert not are_pairs([Config()], [Config(), Config()])
