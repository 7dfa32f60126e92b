"""The document sampler: a row reads one document after the other, each from a state of zero to its end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import DataError
from lmkit.samplers import IGNORE, DocumentSampler

EOS = 99
_ = -1  # an input that does not matter: nothing is predicted there


def sampler(lengths, batch_size, window, *, seed=0, shuffled=True):
    """Over documents of the given lengths; tokens are their own places."""
    starts = np.cumsum([0, *lengths[:-1]])
    total = sum(lengths)
    return DocumentSampler(
        np.arange(total),
        eos_id=total,
        batch_size=batch_size,
        window=window,
        seed=seed,
        documents=starts,
        shuffled=shuffled,
    )


@st.composite
def shapes(draw):
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=25))
    return lengths, draw(st.integers(1, min(sum(lengths), 6))), draw(st.integers(1, 12))


def test_document_windows_are(as_lists):
    # three documents, each closed by <eos>; the second is longest
    stream = np.array([10, 11, EOS, 20, 21, 22, 23, EOS, EOS])
    made = DocumentSampler(stream, eos_id=EOS, batch_size=2, window=3, documents=np.array([0, 3, 8]), shuffled=False)
    assert as_lists(made.epoch(0)) == [
        ([[EOS, 10, 11], [EOS, 20, 21]], [[10, 11, EOS], [20, 21, 22]], [True, True]),
        ([[EOS, _], [22, 23]], [[EOS, IGNORE], [23, EOS]], [True, False]),
    ]


@given(shape=shapes(), epoch=st.integers(0, 20), seed=st.integers(0, 2**31 - 1), shuffled=st.booleans())
def test_every_target_comes_once_after_all_of_its_document_and_nothing_else(predictions, shape, epoch, seed, shuffled):
    lengths, batch_size, window = shape
    documents = sampler(*shape, seed=seed, shuffled=shuffled)
    windows = list(documents.epoch(epoch))
    found = predictions(windows)
    total = sum(lengths)
    assert sorted(item.target for item in found) == list(range(total))
    assert documents.num_targets == total
    assert len(windows) == documents.num_windows(epoch)
    assert all(made.inputs.shape[0] == batch_size and made.advance <= window for made in windows)
    starts = np.cumsum([0, *lengths[:-1]])
    for item in found:
        start = int(starts[starts <= item.target].max())
        assert item.history[0] == total  # <eos>, whatever stands before the document
        assert item.history[1:] == list(range(start, item.target))


@given(shape=shapes(), epoch=st.integers(0, 20))
def test_the_state_never_restarts_inside_a_window(shape, epoch):
    starts = set(np.cumsum([0, *shape[0][:-1]]).tolist())
    for window in sampler(*shape).epoch(epoch):
        for row, reset in zip(window.targets.tolist(), window.reset.tolist(), strict=True):
            targets = [target for target in row if target != IGNORE]
            assert row == targets + [IGNORE] * (len(row) - len(targets))
            assert not starts & set(targets[1:])
            if targets:
                assert reset == (targets[0] in starts)


@given(shape=shapes(), epoch=st.integers(0, 20))
def test_no_row_waits_while_documents_remain(shape, epoch):
    first_seen = {}
    idle = []
    starts = np.cumsum([0, *shape[0][:-1]]).tolist()
    for index, window in enumerate(sampler(*shape).epoch(epoch)):
        for row in window.targets.tolist():
            if row[0] == IGNORE:
                idle.append(index)
            elif row[0] in starts:
                first_seen[row[0]] = index
    assert not idle or max(first_seen.values()) <= min(idle)


def test_unshuffled_documents_begin_in_the_order_of_the_stream(predictions):
    lengths = [3, 9, 1, 1, 4, 20, 2, 2, 7]
    for batch_size in (1, 2, 3):
        found = predictions(sampler(lengths, batch_size, 4, shuffled=False).epoch(5))
        order = [item.target for item in found if len(item.history) == 1]
        assert order == np.cumsum([0, *lengths[:-1]]).tolist()


def test_a_second_epoch_has_the_same_documents_in_another_order(predictions):
    made = sampler([2] * 40, 2, 8)
    orders = [[item.target for item in predictions(made.epoch(number)) if len(item.history) == 1] for number in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(0, 80, 2))


def test_one_document_is_read_like_a_stream(predictions):
    found = predictions(sampler([50], 1, 7).epoch(0))
    assert [item.target for item in found] == list(range(50))
    assert found[-1].history == [50, *range(49)]


def test_a_text_shorter_than_the_batch_is_refused():
    with pytest.raises(DataError, match="--batch-size 3"):
        sampler([2, 1], 4, 5)
