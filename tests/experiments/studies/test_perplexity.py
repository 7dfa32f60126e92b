"""The rule of the experiment on perplexity, on outcomes that nobody has measured, and the text of equal choices."""

from __future__ import annotations

import math

import pytest

from lmkit.experiments.studies.text.perplexity import (
    ENGLISH,
    MIXED_ARM,
    PIECES,
    POOR,
    EqualChoices,
    Perplexity,
)

RIGHT = {"2 letters": 2.0, "4 letters": 4.0, "16 letters": 16.0, MIXED_ARM: 4.0, "markov": 3.5}


@pytest.mark.parametrize("counts", [(3,), (2, 8), (4, 1, 5)])
def test_the_source_of_equal_choices_has_their_geometric_mean(counts):
    machine = EqualChoices(counts)
    assert math.exp(machine.entropy_rate) == pytest.approx(math.prod(counts) ** (1 / len(counts)))
    text = machine.sample(60)
    assert all(ord(letter) - ord("a") < counts[place % len(counts)] for place, letter in enumerate(text))
    assert len(set(machine.sample(400)[:: len(counts)])) == counts[0]


def outcomes(invent, perplexities, *, piece_bits=2.0, poor_short=500.0):
    """Five runs of each arm that differ hardly."""

    def values(arm: str) -> list[dict[str, float]]:
        one = {"test": math.log(perplexities.get(arm, 8.0)), "uniform": 10.0, "source": 1.0, "test_bits_per_char": 2.0}
        lengths = {"short_nats": 200.0, "long_nats": 20_000.0, "short_per_token": 2.0, "long_per_token": 2.0}
        one |= lengths
        if arm == POOR:
            one |= {"short_nats": poor_short, "short_per_token": 5.0}
        if arm == PIECES:
            one |= {"test": math.log(80.0), "test_bits_per_char": piece_bits}
        return [{name: value * (1 + 1e-4 * seed) for name, value in one.items()} for seed in range(5)]

    return invent(Perplexity(), values)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "partly"),  # the geometric mean
        ({MIXED_ARM: 5.0}, "holds"),
        ({MIXED_ARM: 4.4}, "undecided"),
        ({"4 letters": 4.5}, "refuted"),
    ],
)
def test_perplexity_is_judged_by_texts_with_a_known_number_of_choices(invent, changed, word):
    verdicts = {one.claim: one for one in Perplexity().judge(outcomes(invent, {**RIGHT, **changed}))}
    assert verdicts[30].word == word


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "partly"),  # tokens of another kind mislead
        ({"piece_bits": 4.0}, "holds"),
        ({"poor_short": 50_000.0}, "partly"),  # the longer text is likelier all the same
    ],
)
def test_lengths_are_judged_by_totals_and_by_tokens(invent, changed, word):
    verdicts = {one.claim: one for one in Perplexity().judge(outcomes(invent, RIGHT, **changed))}
    assert verdicts[29].word == word
    assert ENGLISH in Perplexity().tables(outcomes(invent, RIGHT))[1].rows[0]
