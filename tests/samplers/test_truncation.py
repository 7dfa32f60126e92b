"""Windows that overlap, that end at cuts which are drawn, that are whole rows, and those with a burn-in."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.samplers import (
    IGNORE,
    MakeBorders,
    OverlappingBorders,
    RandomCuts,
    RandomSampler,
    SequentialSampler,
    WholeRows,
    first_window_steps,
    longest_segment,
)

EOS = 99
_ = -1  # an input that does not matter: nothing is predicted there


def sampler(length: int, batch_size: int, borders: MakeBorders, *, seed: int = 0) -> SequentialSampler:
    """Over a stream whose tokens are their own places."""
    return SequentialSampler(
        np.arange(length), eos_id=length, batch_size=batch_size, window=1, seed=seed, borders=borders
    )


@st.composite
def shapes(draw):
    length = draw(st.integers(1, 150))
    return length, draw(st.integers(1, min(length, 9)))


@st.composite
def styles(draw):
    k1 = draw(st.integers(1, 20))
    overlapping = partial(OverlappingBorders, k1=k1, k2=k1 + draw(st.integers(0, 40)))
    cuts = partial(RandomCuts, chunk=k1, probability=draw(st.floats(0.01, 0.99)))
    return draw(st.sampled_from([overlapping, cuts, WholeRows]))


@given(shape=shapes(), borders=styles(), epoch=st.integers(0, 50), seed=st.integers(0, 2**31 - 1))
def test_every_target_comes_once_after_all_that_is_before_it_in_its_row(predictions, shape, borders, epoch, seed):
    length, batch_size = shape
    made = sampler(length, batch_size, borders, seed=seed)
    found = predictions(made.epoch(epoch))
    assert sorted(item.target for item in found) == list(range(length))
    for item in found:
        start = int(made.row_starts[item.row])
        assert item.history == [start - 1 if start else length, *range(start, item.target)]


def test_overlapping_windows_are(as_lists):
    stream = np.array([10, 11, 12, 13, 14, 15, 16, 17], np.uint8)
    made = SequentialSampler(
        stream, eos_id=EOS, batch_size=1, window=5, seed=0, borders=partial(OverlappingBorders, k1=2, k2=5)
    )
    assert first_window_steps(0, 0, 2) == 2
    assert as_lists(made.epoch(0)) == [
        ([[EOS, 10]], [[10, 11]], [True]),
        ([[_, _, 11, 12]], [[IGNORE, IGNORE, 12, 13]], [True]),
        ([[_, _, _, 13, 14]], [[IGNORE, IGNORE, IGNORE, 14, 15]], [False]),
        ([[_, _, _, 15, 16]], [[IGNORE, IGNORE, IGNORE, 16, 17]], [False]),
    ]
    windows = list(made.epoch(0))
    assert [window.advance for window in windows] == [0, 1, 2, 5]
    assert [window.context for window in windows] == [0, 2, 3, 3]
    assert windows[3].inputs.tolist() == [[12, 13, 14, 15, 16]]


@given(k1=st.integers(1, 9), more=st.integers(0, 30), epoch=st.integers(0, 20))
def test_overlapping_windows_have_k2_steps_and_predict_k1_of_them_once_they_have_grown(k1, more, epoch):
    windows = list(sampler(200, 2, partial(OverlappingBorders, k1=k1, k2=k1 + more)).epoch(epoch))
    first = first_window_steps(0, epoch, k1)
    for index, window in enumerate(windows[:-1]):
        end = first + index * k1
        assert window.inputs.shape[1] == min(k1 + more, end)
        assert int((window.targets[0] != IGNORE).sum()) == (k1 if index else first)
        assert window.reset.all() == (end <= k1 + more)
        assert window.borders == ()


def test_windows_between_random_cuts_have_a_border_at_each_chunk():
    made = sampler(400, 2, partial(RandomCuts, chunk=4, probability=0.3))
    windows = list(made.epoch(1))
    read = 0
    for window in windows:
        steps = window.inputs.shape[1]
        assert [read + border for border in window.borders] == [
            border for border in range(first_window_steps(0, 1, 4), 200, 4) if read < border < read + steps
        ]
        assert window.advance == steps and window.reset.all() == (read == 0)
        read += steps
    assert read == 200
    assert len(windows) == made.num_windows(1)


def cuts(steps=40_000, **options):
    borders = RandomCuts(**{"seed": 1, "epoch": 2, "steps": steps, "chunk": 2, "probability": 0.3, **options})
    return {borders.span(index).end for index in range(borders.num_windows)} - {steps}


def test_cuts_are_drawn_with_their_probability_each_by_itself():
    borders = np.array(sorted(cuts()))
    assert len(borders) / 20_000 == pytest.approx(0.3, abs=0.02)
    gaps = np.diff(borders) // 2
    for gap in (1, 2, 3):  # geometric
        assert (gaps == gap).mean() == pytest.approx(0.3 * 0.7 ** (gap - 1), abs=0.02)


def test_a_cut_is_a_function_of_seed_epoch_and_border():
    found = cuts()
    assert found == cuts()
    assert {cut for cut in found if cut < 1000} == cuts(1000)
    assert found != cuts(seed=2)
    assert found != cuts(epoch=3)


def test_the_mean_of_windows_over_seeds_is_what_the_divisor_takes_for_it():
    numbers = [RandomCuts(seed, 0, 100, chunk=1, probability=0.3) for seed in range(400)]
    expected = np.mean([borders.mean_windows for borders in numbers])
    assert np.mean([borders.num_windows for borders in numbers]) == pytest.approx(expected, rel=0.03)


@given(chunk=st.integers(1, 50), probability=st.floats(0.001, 0.999))
def test_one_segment_in_a_million_is_longer_than_the_longest(chunk, probability):
    chunks, rest = divmod(longest_segment(chunk, probability), chunk)
    assert rest == 0
    assert (1 - probability) ** chunks <= 1.000001e-6
    assert chunks == 1 or (1 - probability) ** (chunks - 1) > 0.99999e-6


@given(shape=shapes(), window=st.integers(1, 20), burn_in=st.integers(0, 30), epoch=st.integers(0, 20))
def test_a_burn_in_is_read_before_each_window_as_far_as_there_is_one(predictions, shape, window, burn_in, epoch):
    length, batch_size = shape
    plain, burning = (
        RandomSampler(np.arange(length), eos_id=length, batch_size=batch_size, window=window, burn_in=tokens)
        for tokens in (0, burn_in)
    )
    found, expected = predictions(burning.epoch(epoch)), predictions(plain.epoch(epoch))
    assert [item.target for item in found] == [item.target for item in expected]
    for item, other in zip(found, expected, strict=True):
        before = item.history[: len(item.history) - len(other.history)]
        first = other.target - len(other.history)  # the place of the first input, -1 for <eos>
        assert item.history == before + other.history
        assert before == [place if place >= 0 else length for place in range(max(-1, first - burn_in), first)]
