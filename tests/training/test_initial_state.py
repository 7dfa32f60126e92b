"""A learned state before any token: it is trained in the windows in which rows begin, and in no others."""

import pytest
import torch
from torch.nn import functional as F

from lmkit.config import WITH_REAL_STATES
from lmkit.samplers import IGNORE
from lmkit.training.step import train_step

on_every_cell = pytest.mark.parametrize("cell", WITH_REAL_STATES)


def initial(model):
    """The learned values of all layers."""
    return [value for name, value in model.named_parameters() if ".initial." in name]


def spread(model):
    """Learned values that are not zero."""
    with torch.no_grad():
        for value in initial(model):
            value.normal_(std=0.3)


def make(make_training, **options):
    training = make_training(num_layers=2, initial_state="learned", max_grad_norm=0, **options)
    spread(training.train.model.double())
    return training


@on_every_cell
def test_the_gradient_reaches_the_beginning_of_the_rows_that_begin(make_training, cell):
    training = make(make_training, cell=cell)
    model = training.train.model
    first, second = list(training.sampler.epoch(0))[1:3]
    train_step(training.train, first._replace(reset=torch.tensor([True] * 4)), training.update, lr=0.1,
               targets_per_window=32.0)  # fmt: skip
    carried, reset = training.train.carried, torch.tensor([False, True, False, True])
    rows = []  # by hand: a row that begins starts from the parameters themselves, another where it ended
    for row in range(4):
        fresh = model.initial_state(1)
        own = tuple(tuple(value[row : row + 1] for value in layer) for layer in carried)
        logits, _ = model(second.inputs[row : row + 1], fresh if reset[row] else own)
        rows.append(F.cross_entropy(logits[0], second.targets[row], ignore_index=IGNORE, reduction="sum"))
    values = initial(model)
    expected = torch.autograd.grad(torch.stack(rows).sum() / 32, values)
    before = [value.detach().clone() for value in values]
    train_step(training.train, second._replace(reset=reset), training.update, lr=0.5, targets_per_window=32.0)
    for value, old, gradient in zip(values, before, expected, strict=True):
        assert gradient.any()
        torch.testing.assert_close(value.detach(), old - 0.5 * gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"optimizer": "adamw", "lr": 0.01}, {"read_every": 2}])
def test_where_no_row_begins_it_stays_and_is_carried_from_nowhere(make_training, options):
    training = make(make_training, cell="lstm", **options)
    windows = list(training.sampler.epoch(0))[:4]
    moved = []
    for window in windows:
        before = [value.detach().clone() for value in initial(training.train.model)]
        train_step(training.train, window, training.update, lr=0.01, targets_per_window=32.0)
        moved.append(not all(map(torch.equal, before, initial(training.train.model))))
        assert not any(value.requires_grad for layer in training.train.carried for value in layer)
    assert moved == [True, False, False, False]


@pytest.mark.parametrize("parts", [2, 4])
def test_rows_in_parts_have_the_gradient_of_all_together(make_training, parts):
    ends = []
    for accumulate in (1, parts):
        training = make(make_training, cell="gru", accumulate=accumulate)
        train_step(training.train, next(training.sampler.epoch(0)), training.update, lr=0.5, targets_per_window=32.0)
        ends.append(initial(training.train.model))
    for whole, parted in zip(*ends, strict=True):
        torch.testing.assert_close(parted, whole, rtol=1e-10, atol=1e-12)


def test_a_step_that_is_not_finite_leaves_a_state_without_a_graph(make_training):
    training = make(make_training, cell="gru", on_nonfinite="skip")
    first, second = list(training.sampler.epoch(0))[:2]
    record = train_step(training.train, first, training.update, lr=0.5, targets_per_window=1e-320)
    assert len(record.skipped) == 1
    assert not any(value.requires_grad for layer in training.train.carried for value in layer)
    for carried, own in zip(training.train.carried, training.train.model.initial_state(4), strict=True):
        assert all(map(torch.equal, carried, own))
    assert not train_step(training.train, second, training.update, lr=0.5, targets_per_window=32.0).skipped
