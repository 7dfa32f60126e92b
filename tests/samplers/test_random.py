"""The random sampler and the bijection that orders it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import DataError
from lmkit.samplers import IGNORE, RandomSampler, Shuffle, first_window_steps

EOS = 99
_ = -1  # an input that does not matter: nothing is predicted there


def sampler(length, batch_size, window, *, seed=0):
    """Over a stream whose tokens are their own places."""
    return RandomSampler(np.arange(length), eos_id=length, batch_size=batch_size, window=window, seed=seed)


def pieces(windows):
    """The rows that have targets, as lists of them."""
    rows = [row for window in windows for row in window.targets.tolist()]
    return [[target for target in row if target != IGNORE] for row in rows if row[0] != IGNORE]


@st.composite
def shapes(draw):
    length = draw(st.integers(1, 150))
    return length, draw(st.integers(1, min(length, 9))), draw(st.integers(1, 20))


def test_random_windows_are(as_lists):
    stream = np.array([10, 11, 12, 13, 14, 15, 16], np.uint8)
    made = RandomSampler(stream, eos_id=EOS, batch_size=2, window=3, seed=0)
    # cut behind 2 steps, then behind 1; the order is part of what a resumed run relies on
    assert as_lists(made.epoch(0)) == [
        ([[EOS, 10, _], [14, 15, _]], [[10, 11, IGNORE], [15, 16, IGNORE]], [True, True]),
        ([[11, 12, 13], [_, _, _]], [[12, 13, 14], [IGNORE, IGNORE, IGNORE]], [True, True]),
    ]
    assert as_lists(made.epoch(1)) == [
        ([[EOS, _, _], [10, 11, 12]], [[10, IGNORE, IGNORE], [11, 12, 13]], [True, True]),
        ([[13, 14, 15], [_, _, _]], [[14, 15, 16], [IGNORE, IGNORE, IGNORE]], [True, True]),
    ]


@given(shape=shapes(), epoch=st.integers(0, 50), seed=st.integers(0, 2**31 - 1))
def test_every_target_comes_once_and_its_window_begins_from_zero(predictions, shape, epoch, seed):
    length = shape[0]
    made = sampler(*shape, seed=seed)
    windows = list(made.epoch(epoch))
    found = predictions(windows)
    assert sorted(item.target for item in found) == list(range(length))
    assert made.num_targets == length
    assert len(windows) == made.num_windows(epoch)
    assert all(window.reset.all() for window in windows)
    for item in found:
        assert (
            item.history == [place - 1 if place else length for place in range(item.target + 1)][-len(item.history) :]
        )


@given(shape=shapes(), epoch=st.integers(0, 50))
def test_windows_are_the_stream_cut_behind_the_first_steps(shape, epoch):
    length, _, window = shape
    first = min(first_window_steps(0, epoch, window), length)
    expected = [list(range(first))]
    expected += [list(range(start, min(start + window, length))) for start in range(first, length, window)]
    assert sorted(pieces(sampler(*shape).epoch(epoch))) == expected


@given(shape=shapes(), epoch=st.integers(0, 20))
def test_only_the_last_batch_has_empty_rows(shape, epoch):
    windows = list(sampler(*shape).epoch(epoch))
    assert all((window.targets != IGNORE).any(1).all() for window in windows[:-1])
    assert (windows[-1].targets != IGNORE).any()


def test_a_second_epoch_has_the_same_targets_in_another_order():
    made = sampler(1000, 4, 10)
    first, second = ([row[0] // 10 for row in pieces(made.epoch(number))] for number in (0, 1))
    assert first != second
    targets = [sorted(target for row in pieces(made.epoch(number)) for target in row) for number in (0, 1)]
    assert targets[0] == targets[1] == list(range(1000))


def test_order_is_random_not_only_moved():
    starts = [row[0] for row in pieces(sampler(3000, 1, 10).epoch(0))]
    steps = np.diff(starts)
    assert len(set(steps.tolist())) > 150
    assert abs(np.corrcoef(starts[:-1], starts[1:])[0, 1]) < 0.2


@given(size=st.integers(1, 5000), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10**6))
def test_a_shuffle_is_a_bijection(size, seed, epoch):
    shuffle = Shuffle(size, seed, epoch)
    assert sorted(map(shuffle, range(size))) == list(range(size))


def test_small_shuffles_give_every_order_alike():
    orders = [tuple(map(Shuffle(3, seed, epoch), range(3))) for seed in range(60) for epoch in range(100)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 20.5  # chi-square, 5 degrees, 0.1 %


def test_every_place_of_a_shuffle_goes_everywhere():
    size, trials = 10, 2000
    counts = np.zeros((size, size))
    for epoch in range(trials):
        shuffle = Shuffle(size, 3, epoch)
        for place in range(size):
            counts[place, shuffle(place)] += 1
    expected = trials / size
    assert ((counts - expected) ** 2 / expected).sum() < 126  # chi-square, 81 degrees, 0.1 %


def test_a_text_shorter_than_the_batch_is_refused_with_a_number_that_fits():
    with pytest.raises(DataError, match=r"\b3\b.*--batch-size 3\b"):
        sampler(3, 4, 5)
