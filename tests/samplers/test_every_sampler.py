"""What all samplers promise: pure in (seed, epoch), seekable, divisible by rows, constant in memory."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lmkit.model import head
from lmkit.samplers import (
    IGNORE,
    SAMPLERS,
    DocumentSampler,
    OverlappingBorders,
    RandomCuts,
    RandomSampler,
    SequentialSampler,
    StateDropping,
    fitting_layout,
)

CUT: dict[str, Any] = {
    "overlapping": lambda window: partial(OverlappingBorders, k1=max(1, window // 3), k2=window),
    "cut at random": lambda window: partial(RandomCuts, chunk=max(1, window // 3), probability=0.4),
}
KINDS = [*sorted(SAMPLERS), "jittered", "dropping", "burning in", *CUT]


def make(kind, stream, batch_size, window, seed=0, document_length=13):
    options: dict[str, Any] = {"documents": np.arange(0, len(stream), document_length)} if kind == "document" else {}
    if kind == "dropping":
        return StateDropping(make("document", stream, batch_size, window, seed, document_length), 0.3)
    if kind == "jittered":
        kind, options = "sequential", {"jitter": (window - 1) // 2}
    if kind == "burning in":
        kind, options = "random", {"burn_in": 2 * window}
    if kind in CUT:
        kind, options = "sequential", {"borders": CUT[kind](window)}
    eos_id = int(stream.max()) + 1 if len(stream) < 10**6 else 9
    return SAMPLERS[kind](stream, eos_id=eos_id, batch_size=batch_size, window=window, seed=seed, **options)


def assert_same(windows, others):
    windows, others = list(windows), list(others)
    assert len(windows) == len(others)
    for window, other in zip(windows, others, strict=True):
        assert window.inputs.equal(other.inputs)
        assert window.targets.equal(other.targets)
        assert window.reset.equal(other.reset)
        assert window[3:] == other[3:]


def rows_of(window, rows):
    return window._replace(inputs=window.inputs[rows], targets=window.targets[rows], reset=window.reset[rows])


@st.composite
def shapes(draw):
    length = draw(st.integers(1, 120))
    return length, draw(st.integers(1, min(length, 7))), draw(st.integers(1, 15))


def test_the_samplers_are_these():
    assert {"sequential": SequentialSampler, "random": RandomSampler, "document": DocumentSampler} == SAMPLERS


def test_all_rooms_mean_the_same_by_ignore():
    assert IGNORE == head.IGNORE == torch.nn.CrossEntropyLoss().ignore_index


@pytest.mark.parametrize("kind", KINDS)
@given(shape=shapes(), epoch=st.integers(0, 20), start=st.integers(0, 40))
def test_an_epoch_from_a_start_is_the_tail_of_the_epoch(kind, shape, epoch, start):
    length, batch_size, window = shape
    made = make(kind, np.arange(length), batch_size, window)
    assert_same(made.epoch(epoch, start), list(made.epoch(epoch))[start:])


@pytest.mark.parametrize("kind", KINDS)
@given(shape=shapes(), epoch=st.integers(0, 20), data=st.data())
def test_some_rows_are_those_rows_of_the_whole(kind, shape, epoch, data):
    length, batch_size, window = shape
    begin = data.draw(st.integers(0, batch_size - 1))
    rows = slice(begin, data.draw(st.integers(begin + 1, batch_size)))
    start = data.draw(st.integers(0, 3))
    made = make(kind, np.arange(length), batch_size, window)
    assert_same(made.epoch(epoch, start, rows=rows), [rows_of(whole, rows) for whole in made.epoch(epoch, start)])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_be_taken_in_steps(kind):
    made = make(kind, np.arange(100), 4, 5)
    whole = list(made.epoch(1))
    for rows in (slice(0, None, 2), slice(1, None, 2), slice(-2, None)):
        assert_same(made.epoch(1, rows=rows), [rows_of(window, rows) for window in whole])


@pytest.mark.parametrize("kind", KINDS)
@given(shape=shapes(), epoch=st.integers(0, 20), seed=st.integers(0, 1000))
def test_the_same_seed_and_epoch_give_the_same_windows(kind, shape, epoch, seed):
    length, batch_size, window = shape
    stream = np.arange(length)
    made = make(kind, stream, batch_size, window, seed)
    first = list(made.epoch(epoch))
    torch.rand(1)
    next(made.epoch(epoch + 1))  # an epoch begun and left has no effect
    assert_same(made.epoch(epoch), first)
    assert_same(make(kind, stream, batch_size, window, seed).epoch(epoch), first)


@pytest.mark.parametrize("kind", ["random", "document"])
def test_another_seed_gives_another_order(kind):
    first, second = (make(kind, np.arange(500), 3, 7, seed) for seed in (0, 1))
    orders = [[w.targets[:, 0].tolist() for w in made.epoch(0)] for made in (first, second)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("kind", KINDS)
def test_drawing_leaves_the_global_random_states_alone(kind):
    torch_before, numpy_before = torch.get_rng_state(), str(np.random.get_state())
    list(make(kind, np.arange(100), 3, 7).epoch(3))
    assert torch.get_rng_state().equal(torch_before)
    assert str(np.random.get_state()) == numpy_before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "largest"), [("uint8", 255), ("uint16", 65_535), ("uint32", 3_000_000_000), ("int64", 3_000_000_000)]
)
def test_ids_of_any_type_become_int64(kind, dtype, largest, tmp_path):
    values = np.array([1, largest, 2, 3, largest, 0, 5], dtype)
    values.tofile(tmp_path / "ids")
    windows = list(make(kind, np.memmap(tmp_path / "ids", dtype=dtype, mode="r"), 1, 3).epoch(0))
    assert all(w.inputs.dtype == w.targets.dtype == torch.int64 and w.reset.dtype == torch.bool for w in windows)
    targets = sorted(target for w in windows for target in w.targets.flatten().tolist() if target != IGNORE)
    assert targets == sorted(values.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_does_not_change_the_stream_nor_the_other_windows(kind):
    stream = np.arange(60)
    made = make(kind, stream, 2, 5)
    expected = list(make(kind, np.arange(60), 2, 5).epoch(0))
    seen = []
    for window in made.epoch(0):
        seen.append(window._replace(inputs=window.inputs.clone(), targets=window.targets.clone()))
        window.inputs.zero_()
        window.targets.zero_()
    assert_same(seen, expected)
    assert stream.tolist() == list(range(60))


@pytest.mark.parametrize("kind", KINDS)
@given(shape=shapes(), epoch=st.integers(0, 20))
def test_padding_is_a_token_that_can_be_read(kind, shape, epoch):
    length, batch_size, window = shape
    for made in make(kind, np.arange(length), batch_size, window).epoch(epoch):
        assert made.inputs.min() >= 0
        assert made.inputs.max() <= length  # eos_id, the largest


@pytest.mark.parametrize("kind", KINDS)
@given(tokens=st.integers(1, 200), rows=st.integers(1, 20), window=st.integers(1, 40))
@example(tokens=11, rows=3, window=4)
def test_a_layout_that_fits_a_text_fits_it_again_and_is_no_larger(kind, tokens, rows, window):
    fitting = fitting_layout(tokens, kind, rows=rows, window=window)
    assert fitting_layout(tokens, kind, rows=fitting[0], window=fitting[1]) == fitting
    assert (fitting == (rows, window)) == (tokens >= (rows if kind == "document" else rows * window))
    assert 1 <= fitting[0] <= rows
    assert 1 <= fitting[1] <= window
    assert make(kind, np.arange(tokens), *fitting).num_targets == tokens


@pytest.mark.parametrize("kind", ["sequential", "random"])
def test_a_window_far_inside_a_trillion_tokens_is_found_at_once(kind):
    stream = np.broadcast_to(np.uint8(7), 10**12)  # costs one byte
    made = make(kind, stream, 16, 64)
    assert made.num_targets == 10**12
    number = made.num_windows(0) - 2
    window = next(made.epoch(0, start=number))
    assert window.targets.tolist() == [[7] * 64] * 16
