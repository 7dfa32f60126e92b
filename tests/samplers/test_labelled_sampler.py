"""Labelled documents: each whole and once an epoch, with its label at its last token, beside others of about its
length.
"""

from __future__ import annotations

import numpy as np
import pytest

from lmkit.samplers import IGNORE, LabelledSampler, Window

LENGTHS = np.random.default_rng(0).integers(1, 30, size=100)
STARTS = np.cumsum(LENGTHS) - LENGTHS
LABELS = np.arange(100) % 7
STREAM = np.repeat(np.arange(100), LENGTHS)  # each token is the number of its document


def make(batch_size: int = 8, seed: int = 3, documents: int = 100) -> LabelledSampler:
    end = int(LENGTHS[:documents].sum())
    how = {"documents": STARTS[:documents], "labels": LABELS[:documents]}
    return LabelledSampler(STREAM[:end], eos_id=0, batch_size=batch_size, window=16, seed=seed, **how)


def documents_of(window: Window) -> list[int]:
    return window.inputs[:, 0].tolist()


@pytest.mark.parametrize("epoch", [0, 1])
def test_every_document_comes_once_and_whole_with_its_label_at_its_end(epoch: int):
    sampler, seen = make(), []
    for window in sampler.epoch(epoch):
        assert bool(window.reset.all())
        for row, document in enumerate(documents_of(window)):
            length = int(LENGTHS[document])
            assert window.inputs[row, :length].tolist() == [document] * length
            assert window.targets[row, length - 1] == LABELS[document]
            assert (window.targets[row] != IGNORE).sum() == 1
            seen.append(document)
    assert sorted(seen) == list(range(100))
    assert (sampler.num_targets, sampler.num_windows(epoch)) == (100, 13)


def test_windows_are_a_function_of_seed_epoch_and_index():
    windows = [documents_of(window) for window in make().epoch(1)]
    assert [documents_of(window) for window in make().epoch(1, start=5)] == windows[5:]
    assert [documents_of(window) for window in make().epoch(1, rows=slice(2, 4))] == [one[2:4] for one in windows]
    assert windows != [documents_of(window) for window in make().epoch(2)]
    assert windows != [documents_of(window) for window in make(seed=4).epoch(1)]


def test_documents_of_about_one_length_are_together():
    padding = sum(int(window.inputs.numel()) for window in make().epoch(0)) - len(STREAM)
    assert padding < len(STREAM) / 8
    widths = [window.advance for window in make().epoch(0)]
    assert widths != sorted(widths, reverse=True), "short and long batches take turns"


def test_long_documents_come_in_smaller_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lmkit.samplers.labelled_sampler.LARGEST_BATCH", 60)
    windows = list(make().epoch(0))
    assert all(window.inputs.numel() <= 60 or len(window.inputs) == 1 for window in windows)
    assert sorted(document for window in windows for document in documents_of(window)) == list(range(100))


def test_fewer_documents_than_rows_are_one_batch():
    (window,) = make(documents=3).epoch(0)
    assert sorted(documents_of(window)) == [0, 1, 2]
