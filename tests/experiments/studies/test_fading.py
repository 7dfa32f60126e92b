"""The rules of the experiments on words that fade, on outcomes that nobody has measured."""

from __future__ import annotations

import pytest

from lmkit.experiments.studies.memory.distance import Distance, gaps
from lmkit.experiments.studies.memory.fading import Fading
from lmkit.experiments.studies.memory.squashing import SHORT, SMALL, TANH, Squashing


def spread(value: float) -> list[float]:
    """Five values that differ hardly."""
    return [value * (1 + 1e-3 * seed) for seed in range(-2, 3)]


@pytest.mark.parametrize(
    ("left", "word"),
    [
        ({"rnn": 0.01, "gru": 0.02, "lstm": 0.03}, "holds"),
        ({"rnn": 0.01, "gru": 0.5, "lstm": 0.6}, "partly"),
        ({"rnn": 0.4, "gru": 0.5, "lstm": 0.6}, "refuted"),
        ({"rnn": 0.4, "gru": 0.1, "lstm": 0.6}, "undecided"),
    ],
)
def test_words_are_gone_where_a_tenth_is_left_in_every_cell(invent, left, word):
    (verdict,) = Fading().judge(invent(Fading(), lambda cell: [{"left": one} for one in spread(left[cell])]))
    assert verdict.word == word


@pytest.mark.parametrize(
    ("near", "far", "word"),
    [
        ({"rnn": 0.9, "gru": 0.9, "lstm": 0.9}, {"rnn": 0.1, "gru": 0.1, "lstm": 0.1}, "holds"),
        ({"rnn": 0.9, "gru": 0.9, "lstm": 0.9}, {"rnn": 0.1, "gru": 0.8, "lstm": 0.8}, "partly"),
        ({"rnn": 0.9, "gru": 0.9, "lstm": 0.9}, {"rnn": 0.8, "gru": 0.8, "lstm": 0.8}, "refuted"),
        ({"rnn": 0.1, "gru": 0.1, "lstm": 0.1}, {"rnn": 0.1, "gru": 0.1, "lstm": 0.1}, "undecided"),  # never learnt
    ],
)
def test_a_network_becomes_unable_where_it_connects_near_and_not_far(invent, near, far, word):
    def values(cell: str) -> list[dict[str, list[float]]]:
        return [
            {"effect": [{0: near[cell] * one, 20: far[cell] * one}.get(gap, 0.5) for gap in (0, 2, 5, 10, 15, 20, 40)]}
            for one in spread(1.0)
        ]

    found = invent(Distance(), values)
    assert gaps(found.scale) == (0, 2, 5, 10, 15, 20, 40)
    (verdict,) = Distance().judge(found)
    assert verdict.word == word


@pytest.mark.parametrize(
    ("tanh", "short", "newest", "word"),
    [
        (0.1, 0.9, True, "holds"),
        (0.1, 0.01, True, "partly"),
        (0.9, 0.01, False, "refuted"),
        (0.5, 0.01, False, "undecided"),
    ],
)
def test_squashing_is_judged_apart_from_the_matrix(invent, tanh, short, newest, word):
    def values(layer: str) -> list[dict[str, float]]:
        found = {TANH: tanh, SMALL: 0.7, SHORT: short}.get(layer, 1.0)
        return [{"age_20": one, "newest_is_largest": float(newest)} for one in spread(found)]

    (verdict,) = Squashing().judge(invent(Squashing(), values))
    assert verdict.word == word
