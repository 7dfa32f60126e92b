"""Windows for evaluation: every token once, whatever rows, warm-up and window are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import ConfigError, DataError
from lmkit.samplers import IGNORE, stream_windows

EOS = 99
_ = -1  # an input that does not matter: nothing is predicted there


def windows_of(length, **options):
    """Of a stream whose tokens are their own places."""
    return stream_windows(np.arange(length), eos_id=length, **options)


lengths, windows, rows, warmups = st.integers(1, 120), st.integers(1, 40), st.integers(1, 12), st.integers(0, 60)


def test_one_row_is_the_stream(as_lists):
    stream = np.array([10, 11, 12, 13, 14], np.uint16)
    assert as_lists(stream_windows(stream, eos_id=EOS, window=2)) == [
        ([[EOS, 10]], [[10, 11]], [True]),
        ([[11, 12]], [[12, 13]], [False]),
        ([[13]], [[14]], [False]),
    ]


def test_every_window_may_begin_anew(as_lists):
    stream = np.array([10, 11, 12, 13, 14])
    assert as_lists(stream_windows(stream, eos_id=EOS, window=2, state="reset")) == [
        ([[EOS, 10]], [[10, 11]], [True]),
        ([[11, 12]], [[12, 13]], [True]),
        ([[13]], [[14]], [True]),
    ]


@given(length=lengths, window=windows, count=rows, warmup=warmups)
def test_every_target_comes_once_whatever_rows_and_warmup_are(predictions, length, window, count, warmup):
    found = predictions(windows_of(length, window=window, rows=count, warmup=warmup))
    assert sorted(item.target for item in found) == list(range(length))
    places = [length, *range(length)]
    for item in found:
        # an unbroken piece of the stream that ends before the target; <eos> is before the text, and before a warm-up
        seen = places[: item.target + 1][-len(item.history) :]
        assert item.history == ([length, *seen[1:]] if warmup and item.row else seen)


@given(length=lengths, window=windows, count=rows, warmup=warmups)
def test_a_row_first_reads_its_warmup_and_predicts_nothing_there(predictions, length, window, count, warmup):
    found = predictions(windows_of(length, window=window, rows=count, warmup=warmup))
    for row in {item.row for item in found}:
        first = min((item for item in found if item.row == row), key=lambda item: item.target)
        assert len(first.history) == 1 + min(warmup, first.target)


@given(length=lengths, window=windows, count=rows, warmup=warmups)
def test_rows_are_contiguous_and_of_equal_length_but_for_one(predictions, length, window, count, warmup):
    found = predictions(windows_of(length, window=window, rows=count, warmup=warmup))
    parts = [[item.target for item in found if item.row == row] for row in sorted({item.row for item in found})]
    assert [target for part in parts for target in part] == list(range(length))
    assert len(parts) == min(count, length)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(length=lengths, window=windows, count=rows)
def test_reset_windows_know_only_their_own_tokens(predictions, length, window, count):
    found = predictions(windows_of(length, window=window, rows=count, state="reset"))
    assert sorted(item.target for item in found) == list(range(length))
    assert max(len(item.history) for item in found) <= window


def test_a_warmup_that_reaches_the_beginning_reads_everything(predictions):
    for item in predictions(windows_of(30, window=4, rows=3, warmup=30)):
        assert item.history == [30, *range(item.target)]


@given(length=lengths, window=windows, count=rows, warmup=warmups)
def test_no_window_is_longer_than_asked_for(length, window, count, warmup):
    made = list(windows_of(length, window=window, rows=count, warmup=warmup))
    assert max(item.advance for item in made) <= window
    assert all((item.inputs >= 0).all() and (item.inputs <= length).all() for item in made)


@pytest.mark.parametrize(("name", "value"), [("rows", 0), ("window", 0), ("warmup", -1)])
def test_a_layout_that_cannot_be_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"--{name} must be at least {value + 1}, not {value}"):
        list(windows_of(9, **{"window": 5, name: value}))


def test_an_empty_stream_is_refused():
    with pytest.raises(DataError):
        list(windows_of(0, window=5))


def test_a_single_token_is_scored():
    (window,) = windows_of(1, window=5)
    assert window.targets[window.targets != IGNORE].tolist() == [0]
    assert window.inputs[0, 0] == 1


def test_memory_does_not_grow_with_the_stream():
    stream = np.broadcast_to(np.uint8(7), 10**12)  # costs one byte
    window = next(iter(stream_windows(stream, eos_id=9, window=8, rows=4, warmup=3)))
    assert window.inputs.shape == (4, 8)
