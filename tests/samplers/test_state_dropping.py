"""Rows that return to their initial state before a window: a reset like any other, and nothing else."""

import numpy as np
import pytest
import torch

from lmkit.samplers import DocumentSampler, SequentialSampler, StateDropping


def sequential(seed=0):
    return SequentialSampler(np.arange(4000), eos_id=4000, batch_size=8, window=5, seed=seed)


def resets(sampler, epoch=0, start=0):
    return torch.stack([window.reset for window in sampler.epoch(epoch, start)])


def test_only_resets_are_added():
    documents = DocumentSampler(
        np.arange(300), eos_id=300, batch_size=3, window=7, documents=np.arange(0, 300, 50), seed=2
    )
    for plain in (sequential(), documents):
        dropping = StateDropping(plain, 0.3)
        assert (dropping.num_windows(1), dropping.num_targets) == (plain.num_windows(1), plain.num_targets)
        for window, other in zip(dropping.epoch(1), plain.epoch(1), strict=True):
            assert window.inputs.equal(other.inputs)
            assert window.targets.equal(other.targets)
            assert window.advance == other.advance
            assert window.reset[other.reset].all()


@pytest.mark.parametrize("probability", [0.05, 0.5])
def test_as_many_rows_return_as_asked_for_each_by_itself(probability):
    found = resets(StateDropping(sequential(), probability))[1:].double()
    assert found.mean().item() == pytest.approx(probability, abs=0.06)
    assert found.any(0).all()
    assert not found.equal(found[:, :1].expand_as(found))


def test_which_rows_return_is_a_function_of_seed_epoch_and_index():
    dropping = StateDropping(sequential(), 0.3)
    found = resets(dropping, epoch=2)
    assert found.equal(resets(StateDropping(sequential(), 0.3), epoch=2))
    assert found[9:].equal(resets(dropping, epoch=2, start=9))
    for other in (resets(dropping, epoch=3), resets(StateDropping(sequential(seed=1), 0.3), epoch=2)):
        fewest = min(len(found), len(other))
        assert not found[1:fewest].equal(other[1:fewest])
