"""Two groups of runs: their means over the text, and their spread over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmkit.config import Config
from lmkit.evaluation.comparison.alignment import Units
from lmkit.evaluation.comparison.groups import Pairing, group_units, over_seeds, pair_by_seed, pair_runs
from lmkit.evaluation.comparison.samples import paired, welch

LOSSES = np.random.default_rng(3).gamma(2.0, size=(5, 40))
SIZES = np.ones(40, dtype=np.int64)
UNITS = Units("token", LOSSES, SIZES, SIZES, None)
NAMES = ["a1", "a2", "b1", "b2", "b3"]
ALONE = Pairing([], "for a reason")


def test_seeds_are_compared_by_the_means_of_their_runs():
    means = LOSSES.mean(axis=1).tolist()
    found = over_seeds(UNITS, NAMES, 2, ALONE, confidence=0.9)
    expected = welch(means[2:], means[:2])
    assert found.baseline_losses + found.losses == pytest.approx(means)
    assert found.difference.low == pytest.approx(expected.interval(0.9).low)
    assert found.p_value == pytest.approx(expected.p_value)
    four = Units("span", LOSSES[:4], 2 * SIZES, SIZES, None)
    pair = over_seeds(four, NAMES, 2, Pairing([(0, 1), (1, 0)], ""), confidence=0.95)
    bits = [mean / 2 / math.log(2) for mean in means]
    crossed = paired(bits[2:4], [bits[1], bits[0]])
    assert (pair.difference.value, pair.p_value) == pytest.approx((crossed.value, crossed.p_value))
    assert pair.pairs == [("b1", "a2"), ("b2", "a1")]
    assert (found.pairs, found.unpaired) == ([], "for a reason")


def test_one_run_in_a_group_says_nothing_of_seeds():
    found = over_seeds(UNITS, NAMES, 1, ALONE, confidence=0.95)
    assert found.difference.low is None
    assert math.isnan(found.p_value)


def test_a_group_stands_for_the_mean_of_its_runs():
    means = group_units(UNITS, 2).losses
    np.testing.assert_allclose(means, [LOSSES[:2].mean(axis=0), LOSSES[2:].mean(axis=0)])


@pytest.mark.parametrize(
    ("change", "unpaired"),
    [
        ({"lr": 0.5, "threads": 3}, ""),
        ({"dropout": 0.5}, ""),
        ({"init_seed": 1, "data_seed": 1}, ""),
        ({"seed": 2}, "different seeds"),
        ({"data_seed": 2}, "different seeds"),
        ({"hidden_size": 8}, "hidden_size"),
        ({"window": 8}, "window"),
        ({"truncation": "artbp"}, "truncation"),
        ({"min_count": 2}, "min_count"),
    ],
    ids=str,
)
def test_runs_are_pairs_where_weights_and_order_are_the_same(change: dict[str, float], unpaired: str):
    found = pair_runs([Config().override(change)], [Config()])
    assert found.pairs == ([] if unpaired else [(0, 0)])
    assert unpaired in found.unpaired


def test_runs_are_paired_by_their_seeds_wherever_they_stand():
    one, two, three = (Config().override({"seed": seed}) for seed in (1, 2, 3))
    assert pair_runs([three, one, two], [one, two, three]).pairs == [(0, 2), (1, 0), (2, 1)]
    for baseline in ([one, two], [one, two, two.override({"data_seed": 3})]):
        assert pair_runs([one, two, three], baseline).pairs == []
    assert pair_by_seed([two.override({"cell": "gru"}), one], [one, two]).pairs == [(0, 1), (1, 0)]
    assert pair_by_seed([one, two], [one, two, two]).unpaired == "because the groups have different seeds"
