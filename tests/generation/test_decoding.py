"""Decoding rules keep the right tokens, and draws follow the distribution."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import ConfigError
from lmkit.generation.decoding import Decoding, keep_min_p, keep_top_k, keep_top_p, keyed_uniforms

ODDS = torch.tensor([[0.15, 0.5, 0.05, 0.3], [0.7, 0.1, 0.1, 0.1]])


def kept(logits):
    """The places of each row that are still possible."""
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


@pytest.mark.parametrize(
    ("k", "first", "second"), [(1, [1], [0]), (2, [1, 3], None), (3, [0, 1, 3], None), (4, [0, 1, 2, 3], [0, 1, 2, 3])]
)
def test_top_k_keeps_the_k_most_probable(k, first, second):
    found = kept(keep_top_k(ODDS.log(), k))
    assert found[0] == first
    assert second is None or found[1] == second


def test_top_k_beyond_the_vocabulary_keeps_all():
    assert kept(keep_top_k(ODDS.log(), 99)) == [[0, 1, 2, 3]] * 2


def test_top_k_keeps_exactly_k_among_equals():
    assert [len(row) for row in kept(keep_top_k(torch.zeros(3, 7), 4))] == [4, 4, 4]


@pytest.mark.parametrize(
    ("p", "first"),
    [(1e-9, [1]), (0.49, [1]), (0.51, [1, 3]), (0.79, [1, 3]), (0.81, [0, 1, 3]), (0.94, [0, 1, 3]),
     (0.96, [0, 1, 2, 3]), (1.0, [0, 1, 2, 3])],
)  # fmt: skip
def test_top_p_keeps_the_smallest_set_that_reaches_p(p, first):
    assert kept(keep_top_p(ODDS.log(), p))[0] == first


def test_top_p_looks_at_each_row_alone():
    assert kept(keep_top_p(ODDS.log(), 0.6)) == [[1, 3], [0]]


@pytest.mark.parametrize(
    ("p", "first"), [(0.05, [0, 1, 2, 3]), (0.11, [0, 1, 3]), (0.31, [1, 3]), (0.61, [1]), (1.0, [1])]
)
def test_min_p_keeps_what_is_p_times_as_probable_as_the_best(p, first):
    assert kept(keep_min_p(ODDS.log(), p))[0] == first


def test_rules_leave_the_kept_logits_and_their_argument_as_they_were():
    logits = ODDS.log()
    for after in (keep_top_k(logits, 2), keep_top_p(logits, 0.6), keep_min_p(logits, 0.4)):
        assert after[0, 1] == logits[0, 1]
        assert after[0, 3] == logits[0, 3]
        assert after[0, [0, 2]].tolist() == [-math.inf] * 2
    assert logits.equal(ODDS.log())


def test_unnormalised_logits_give_the_same_sets():
    for shift in (-50.0, 80.0):
        assert kept(keep_top_p(ODDS.log() + shift, 0.6)) == [[1, 3], [0]]
        assert kept(keep_min_p(ODDS.log() + shift, 0.31)) == [[1, 3], [0]]


def test_what_is_impossible_stays_impossible():
    logits = torch.tensor([[0.0, -math.inf, -1.0]])
    for after in (keep_top_k(logits, 3), keep_top_p(logits, 1.0), keep_min_p(logits, 1e-9)):
        assert kept(after) == [[0, 2]]


def test_temperature_comes_before_the_rules():
    # 0.5, 0.3, 0.15, 0.05 squared and normalised: 0.685, 0.247, 0.062, 0.007
    assert kept(Decoding(temperature=0.5, top_p=0.6).filter(ODDS.log()))[0] == [1]
    assert kept(Decoding(temperature=1.0, top_p=0.6).filter(ODDS.log()))[0] == [1, 3]
    assert kept(Decoding(temperature=0.5, min_p=0.31).filter(ODDS.log()))[0] == [1, 3]
    assert kept(Decoding(temperature=0.5, min_p=0.37).filter(ODDS.log()))[0] == [1]


def test_rules_follow_each_other():
    # top-k leaves 0.5 and 0.3, that is 0.625 and 0.375: only then is 0.6 reached by the first alone
    assert kept(Decoding(top_k=2, top_p=0.6).filter(ODDS.log()))[0] == [1]


def test_filtered_logits_are_float64_and_unchanged_by_default():
    filtered = Decoding().filter(ODDS.log())
    assert filtered.dtype == torch.float64
    torch.testing.assert_close(filtered.softmax(1), ODDS.double())


def test_temperature_divides_the_logits():
    torch.testing.assert_close(Decoding(temperature=2.0).filter(ODDS.log()).softmax(1)[1], _tempered(ODDS[1], 2.0))


def _tempered(odds, temperature):
    powers = odds.double() ** (1 / temperature)
    return powers / powers.sum()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("temperature", value) for value in (-1.0, math.nan, math.inf)],
        *[("top_k", value) for value in (0, -3)],
        *[("top_p", value) for value in (0.0, 1.5, -0.1, math.nan)],
        *[("min_p", value) for value in (-0.1, 1.5, math.nan)],
    ],
)
def test_senseless_options_are_refused(name, value):
    with pytest.raises(ConfigError, match=name.replace("_", "[-_]")):
        Decoding(**{name: value})


def test_temperature_zero_is_argmax():
    logits = torch.randn(50, 30)
    for uniform in (0.0, 0.5, 1 - 2**-53):
        assert Decoding(temperature=0.0).choose(logits, [uniform] * 50).equal(logits.argmax(1))
    assert Decoding(temperature=0.0, top_k=5, top_p=0.9, min_p=0.1).choose(logits, [0.9] * 50).equal(logits.argmax(1))


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300, 5e-324])
def test_a_very_low_temperature_is_argmax_and_does_not_overflow(temperature):
    logits = 80 * torch.randn(50, 30)
    chosen = Decoding(temperature=temperature).choose(logits, [0.7] * 50)
    assert chosen.equal(logits.argmax(1))


def test_a_very_high_temperature_is_uniform():
    uniforms = [(number + 0.5) / 4 for number in range(4)]
    assert Decoding(temperature=1e300).choose(ODDS[:1].log().expand(4, 4), uniforms).tolist() == [0, 1, 2, 3]


def test_a_draw_inverts_the_cumulative_distribution():
    # cumulative: 0.15, 0.65, 0.7, 1
    uniforms = [0.0, 0.14, 0.16, 0.64, 0.66, 0.69, 0.71, 1 - 2**-53]
    assert Decoding().choose(ODDS[:1].log().expand(8, 4), uniforms).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("uniform", [0.0, 1e-300, 0.5, 1 - 2**-53])
def test_an_impossible_token_is_never_drawn(uniform):
    logits = torch.full((1, 5000), -math.inf)
    logits[0, 17] = 0.0
    logits[0, 4000] = -1.0
    assert Decoding().choose(logits, [uniform]).item() in (17, 4000)
    assert Decoding(top_k=1).choose(torch.randn(1, 5000), [uniform]).numel() == 1
    noisy = torch.randn(1, 5000)
    assert Decoding(top_k=1).choose(noisy, [uniform]).item() == noisy.argmax()


def test_draws_follow_the_distribution():
    odds = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    streams = list(range(100))
    counts = torch.zeros(6)
    for position in range(100):
        chosen = Decoding().choose(odds.log().expand(100, 6), keyed_uniforms(7, streams, position))
        counts += torch.bincount(chosen, minlength=6)
    expected = 10_000 * odds
    assert ((counts - expected) ** 2 / expected).sum() < 20.5  # chi-square, 5 degrees, 0.1 %


def test_tempered_and_filtered_draws_follow_their_distribution():
    decoding = Decoding(temperature=0.8, top_k=3)
    expected = _tempered(torch.tensor([0.4, 0.3, 0.2]), 0.8)
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(100, 4)
    counts = torch.zeros(4)
    for position in range(100):
        counts += torch.bincount(decoding.choose(logits, keyed_uniforms(8, list(range(100)), position)), minlength=4)
    assert counts[3] == 0
    assert ((counts[:3] - 10_000 * expected) ** 2 / (10_000 * expected)).sum() < 13.8  # 2 degrees, 0.1 %


@given(
    seed=st.integers(0, 2**31 - 1),
    streams=st.lists(st.integers(0, 2**20), min_size=1, max_size=5, unique=True),
    position=st.integers(0, 10**6),
)
def test_a_number_depends_on_seed_stream_and_position_alone(seed, streams, position):
    numbers = keyed_uniforms(seed, streams, position)
    assert numbers == [keyed_uniforms(seed, [stream], position)[0] for stream in streams]
    assert numbers[::-1] == keyed_uniforms(seed, streams[::-1], position)
    assert all(0 <= number < 1 for number in numbers)


def test_numbers_differ_over_seeds_streams_and_positions():
    numbers = {keyed_uniforms(seed, [stream], position)[0]
               for seed in range(10) for stream in range(10) for position in range(10)}  # fmt: skip
    assert len(numbers) == 1000


@pytest.mark.parametrize("axis", ["seed", "stream", "position"])
def test_numbers_are_uniform_along_each_of_the_three(axis):
    places = [{"seed": 3, "stream": 4, "position": 5, axis: number} for number in range(2000)]
    numbers = [keyed_uniforms(place["seed"], [place["stream"]], place["position"])[0] for place in places]
    counts = torch.histc(torch.tensor(numbers), bins=20, min=0, max=1)
    assert ((counts - 100) ** 2 / 100).sum() < 43.8  # chi-square, 19 degrees, 0.1 %
    assert abs(torch.corrcoef(torch.tensor([numbers[:-1], numbers[1:]]))[0, 1]) < 0.08
