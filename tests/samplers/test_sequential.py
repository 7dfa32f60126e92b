"""The sequential sampler: contiguous rows, windows that follow each other, borders that move."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.config import JITTER_REACH
from lmkit.errors import DataError
from lmkit.samplers import IGNORE, SequentialSampler, first_window_steps, window_lengths

EOS = 99
_ = -1  # an input that does not matter: nothing is predicted there


def sampler(length, batch_size, window, *, seed=0, state="carry", jitter=0):
    """Over a stream whose tokens are their own places."""
    return SequentialSampler(
        np.arange(length), eos_id=length, batch_size=batch_size, window=window, seed=seed, state=state, jitter=jitter
    )


@st.composite
def shapes(draw):
    length = draw(st.integers(1, 150))
    return length, draw(st.integers(1, min(length, 9))), draw(st.integers(1, 20))


def test_sequential_windows_are(as_lists):
    stream = np.array([10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], np.uint8)
    made = SequentialSampler(stream, eos_id=EOS, batch_size=2, window=3, seed=0)
    assert as_lists(made.epoch(0)) == [
        ([[EOS, 10], [15, 16]], [[10, 11], [16, 17]], [True, True]),
        ([[11, 12, 13], [17, 18, 19]], [[12, 13, 14], [18, 19, 20]], [False, False]),
        ([[14], [_]], [[15], [IGNORE]], [False, False]),
    ]
    assert as_lists(made.epoch(1)) == [
        ([[EOS], [15]], [[10], [16]], [True, True]),
        ([[10, 11, 12], [16, 17, 18]], [[11, 12, 13], [17, 18, 19]], [False, False]),
        ([[13, 14], [19, _]], [[14, 15], [20, IGNORE]], [False, False]),
    ]


def test_one_row_reads_the_stream(as_lists):
    assert as_lists(sampler(5, 1, 100, seed=0).epoch(0)) == [([[5, 0, 1, 2, 3]], [[0, 1, 2, 3, 4]], [True])]


@pytest.mark.parametrize("jittered", [False, True])
@given(shape=shapes(), epoch=st.integers(0, 50), seed=st.integers(0, 2**31 - 1))
def test_every_target_comes_once_after_all_that_is_before_it_in_its_row(predictions, jittered, shape, epoch, seed):
    length, batch_size, window = shape
    made = sampler(*shape, seed=seed, jitter=(window - 1) // 2 if jittered else 0)
    windows = list(made.epoch(epoch))
    found = predictions(windows)
    assert sorted(item.target for item in found) == list(range(length))
    assert made.num_targets == length
    assert len(windows) == made.num_windows(epoch)
    for item in found:
        start = min(other.target for other in found if other.row == item.row)
        assert item.history == [start - 1 if start else length, *range(start, item.target)]
    rows = [[item.target for item in found if item.row == row] for row in range(batch_size)]
    assert [target for row in rows for target in row] == list(range(length))
    lengths = [len(row) for row in rows]
    assert lengths == sorted(lengths, reverse=True)
    assert max(lengths) - min(lengths) <= 1


@given(shape=shapes(), epoch=st.integers(0, 50))
def test_windows_are_full_but_for_the_first_and_the_last(shape, epoch):
    widths = [window.inputs.shape[1] for window in sampler(*shape).epoch(epoch)]
    assert widths[0] == min(first_window_steps(0, epoch, shape[2]), -(-shape[0] // shape[1]))
    assert all(width == shape[2] for width in widths[1:-1])
    assert widths[-1] <= shape[2]


@given(shape=shapes(), epoch=st.integers(0, 50))
def test_carried_rows_begin_once_and_the_reset_policy_begins_in_every_window(shape, epoch):
    carried = [window.reset.tolist() for window in sampler(*shape, state="carry").epoch(epoch)]
    assert carried == [[True] * shape[1]] + [[False] * shape[1]] * (len(carried) - 1)
    resets = [window.reset.tolist() for window in sampler(*shape, state="reset").epoch(epoch)]
    assert resets == [[True] * shape[1]] * len(carried)


def test_the_policies_differ_in_nothing_but_the_resets():
    policies = [sampler(50, 3, 4, state=state).epoch(2) for state in ("carry", "reset")]
    for carried, fresh in zip(*policies, strict=True):
        assert carried.inputs.equal(fresh.inputs)
        assert carried.targets.equal(fresh.targets)


def test_borders_move_from_epoch_to_epoch():
    made = sampler(1000, 2, 16)
    assert len({next(made.epoch(number)).advance for number in range(100)}) == 16


@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10**6), window=st.integers(1, 300))
def test_a_first_window_has_one_to_window_steps(seed, epoch, window):
    assert 1 <= first_window_steps(seed, epoch, window) <= window


def test_steps_of_first_windows_are_uniform_over_epochs_and_over_seeds():
    over_epochs = [first_window_steps(1, epoch, 4) for epoch in range(4000)]
    over_seeds = [first_window_steps(seed, 0, 4) for seed in range(4000)]
    for steps in (over_epochs, over_seeds):
        counts = [steps.count(value) for value in (1, 2, 3, 4)]
        assert sum((count - 1000) ** 2 / 1000 for count in counts) < 16.3  # chi-square, 3 degrees, 0.1 %


def test_a_text_shorter_than_the_batch_is_refused_with_a_number_that_fits():
    with pytest.raises(DataError, match=r"\b3\b.*--batch-size 3\b"):
        sampler(3, 4, 5)
    with pytest.raises(DataError):
        sampler(0, 1, 5)


def test_of_twenty_jittered_windows_one_is_half_and_the_others_are_normal_around_the_window():
    lengths = window_lengths(70, 5)
    assert sorted(lengths) == [35, 60, *[65] * 5, *[70] * 7, *[75] * 5, 80]
    assert np.std([length for length in lengths if length != 35]) == pytest.approx(5, rel=0.05)
    assert window_lengths(70) == (70,)
    assert min(window_lengths(1 + JITTER_REACH, 1)) == 1


@pytest.mark.parametrize("epoch", [0, 3])
def test_jittered_windows_come_in_rounds_of_twenty_each_in_an_order_of_its_own(epoch):
    made = sampler(9000, 2, 30, jitter=4, seed=5)
    lengths = [window.advance for window in made.epoch(epoch)]
    assert lengths[0] == first_window_steps(5, epoch, 30)
    rounds = [tuple(lengths[start : start + 20]) for start in range(1, len(lengths) - 20, 20)]
    assert len(set(rounds)) == len(rounds) == 7
    assert {tuple(sorted(one)) for one in rounds} == {tuple(sorted(window_lengths(30, 4)))}
    assert lengths != [window.advance for window in made.epoch(epoch + 1)]
    assert lengths != [window.advance for window in sampler(9000, 2, 30, jitter=4, seed=6).epoch(epoch)]


def test_a_jittered_window_far_inside_a_trillion_tokens_is_found_at_once():
    stream = np.broadcast_to(np.uint8(7), 10**12)  # costs one byte
    made = SequentialSampler(stream, eos_id=9, batch_size=16, window=64, jitter=5)
    last = made.num_windows(3) - 1
    before, end = made.epoch(3, start=last - 1)
    assert before.advance in window_lengths(64, 5)
    assert end.advance <= max(window_lengths(64, 5))
    assert (end.targets[-1] == 7).sum() in (end.advance, end.advance - 1)
    assert torch.equal(before.targets, torch.full_like(before.targets, 7))
