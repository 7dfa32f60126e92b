"""Statistics over seeds, and the words that follow from them."""

from __future__ import annotations

import math

import pytest

from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import paired, welch
from lmkit.experiments.claims import CLAIMS
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.outcomes import Outcomes, Run
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.verdict import Verdict, Word, decide, decide_equal, together
from lmkit.experiments.tools.numbers import arms_table, comparisons_table

VALUES = {"a": [1.0, 1.2, 1.1, 1.3], "b": [2.0, 2.1, 2.4, 2.2], "c": [2.0, 2.3, 2.2, 2.1]}


def runs(arm: str, values: list[float]) -> list[Run]:
    return [
        Run(arm, {}, seed, False, {"x": value, "solved": value < 1.25, "curve": [value, 2 * value]})
        for seed, value in reversed(list(enumerate(values, 1)))
    ]


@pytest.fixture
def outcomes() -> Outcomes:
    arms = (*map(Arm, VALUES), Arm("known", seeded=False), Arm("lost"))
    found = [run for arm, values in VALUES.items() for run in runs(arm, values)]
    found += [Run("known", {}, 1, False, {"x": 2.05})]
    found += [Run("lost", {}, seed, False, {"x": None if seed == 2 else 1.0}) for seed in (1, 2, 3, 4)]
    return Outcomes(Scale(seeds=4), arms, tuple(found))


def test_pairs_are_compared_seed_by_seed_and_others_by_welch(outcomes: Outcomes):
    (pair,) = outcomes.compare([("a", "b")], "x", paired=True)
    assert pair.contrast == paired(VALUES["a"], VALUES["b"])
    first, second = outcomes.compare([("a", "b"), ("c", "b")], "x", paired=False)
    assert first.contrast == welch(VALUES["a"], VALUES["b"])
    assert first.p_holm == pytest.approx(2 * first.contrast.p_value)
    assert second.p_holm == second.contrast.p_value
    assert first.corrected == first.contrast.interval(0.975)  # of two, by Bonferroni
    assert first.advantage.value == -first.interval.value
    assert first.advantage.high == -first.contrast.interval(0.975).low  # type: ignore[operator]


def test_an_arm_without_seeds_is_a_known_value(outcomes: Outcomes):
    (found,) = outcomes.compare([("a", "known")], "x", paired=False)
    assert found.contrast == welch(VALUES["a"], [2.05])


def test_a_loss_that_was_not_finite_leaves_no_mean_and_no_verdict(outcomes: Outcomes):
    assert math.isnan(outcomes.mean("lost", "x").value)
    (found, other) = outcomes.compare([("lost", "a"), ("b", "a")], "x", paired=False)
    assert decide(found.advantage, found.p_holm, 0.1) == Word.UNDECIDED
    assert other.p_holm == pytest.approx(2 * other.contrast.p_value)  # it still counts as a comparison


def test_shares_and_curves_are_over_seeds(outcomes: Outcomes):
    assert outcomes.share("a", "solved").value == 0.75
    curve = outcomes.curve("a", "curve")
    assert curve.mean == pytest.approx([1.15, 2.3])
    assert curve.low[1] == pytest.approx(2 * curve.low[0])
    assert curve.low[1] < curve.mean[1] < curve.high[1]


def test_tables_have_a_row_an_arm_and_a_row_a_comparison(outcomes: Outcomes):
    table = arms_table(outcomes, [("loss", "x", ".2f"), ("curve", "nothing", ".2f")])
    assert [row[0] for row in table.rows] == [arm.name for arm in outcomes.arms]
    assert table.rows[-1] == ["lost", "-", "-"]
    table = comparisons_table(outcomes.compare([("a", "b")], "x", paired=True), "nats")
    assert "paired" in table.note
    assert table.rows[0][0] == "a - b"


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "word"),
    [
        (0.5, 0.2, 0.8, 0.01, Word.HOLDS),
        (0.05, 0.02, 0.08, 0.01, Word.PARTLY),  # it is there, but too small to matter
        (0.01, -0.05, 0.07, 0.6, Word.REFUTED),  # what would matter is outside
        (-0.5, -0.8, -0.2, 0.01, Word.REFUTED),
        (0.2, -0.1, 0.5, 0.2, Word.UNDECIDED),  # not significant is no refutation
        (-0.2, -0.6, 0.2, 0.2, Word.UNDECIDED),
        (0.5, None, None, math.nan, Word.UNDECIDED),
    ],
)
def test_the_word_follows_from_interval_and_p(
    value: float, low: float | None, high: float | None, p: float, word: Word
):
    assert decide(Interval(value, low, high), p, 0.1) == word


def test_no_difference_is_shown_only_by_an_interval_that_is_small_enough():
    assert decide_equal(Interval(0.01, -0.03, 0.05), 0.1) == Word.HOLDS
    assert decide_equal(Interval(0.01, -0.2, 0.22), 0.1) == Word.UNDECIDED
    assert decide_equal(Interval(-0.3, -0.5, -0.1), 0.1) == Word.REFUTED
    assert decide_equal(Interval(0.0, None, None), 0.1) == Word.UNDECIDED


def test_a_claim_of_several_parts_holds_if_all_do():
    assert together([Word.HOLDS, Word.HOLDS]) == Word.HOLDS
    assert together([Word.HOLDS, Word.REFUTED]) == Word.PARTLY
    assert together([Word.REFUTED, Word.UNDECIDED]) == Word.UNDECIDED
    assert together([Word.REFUTED]) == Word.REFUTED


def test_an_experiment_never_says_that_something_is_impossible():
    with pytest.raises(AssertionError):
        Verdict(6, Word.REFUTED, "The network cannot learn it.")
    assert Verdict(6, Word.REFUTED, "The network did not learn it within 5,000 updates.").claim in CLAIMS
