"""Dropout along time: a new mask for every step, or one for the whole window."""

import pytest
import torch

from lmkit.model.dropout import dropout

ONES = torch.ones(5, 40, 50)


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_for_and_the_rest_scaled_up(locked, rate):
    dropped = dropout(ONES, rate, training=True, locked=locked)
    kept = torch.tensor(1 / (1 - rate))
    assert ((dropped == 0) | dropped.isclose(kept)).all()
    assert (dropped == 0).double().mean().item() == pytest.approx(rate, abs=0.04)


def test_a_locked_mask_is_the_same_at_every_step_and_another_in_every_row():
    dropped = dropout(ONES, 0.5, training=True, locked=True)
    assert all(step.equal(dropped[0]) for step in dropped)
    assert len({tuple(row.tolist()) for row in dropped[0]}) == 40


def test_an_unlocked_mask_is_another_at_every_step():
    dropped = dropout(ONES, 0.5, training=True, locked=False)
    assert len({tuple(step.flatten().tolist()) for step in dropped}) == 5


@pytest.mark.parametrize("locked", [False, True])
def test_every_window_has_a_mask_of_its_own(locked):
    first, second = (dropout(ONES, 0.5, training=True, locked=locked) for _ in range(2))
    assert not first.equal(second)


@pytest.mark.parametrize("locked", [False, True])
def test_outside_training_and_at_rate_zero_nothing_happens(locked):
    assert dropout(ONES, 0.5, training=False, locked=locked).equal(ONES)
    assert dropout(ONES, 0.0, training=True, locked=locked).equal(ONES)


@pytest.mark.parametrize("locked", [False, True])
def test_gradients_pass_where_values_pass(locked):
    values = ONES.clone().requires_grad_()
    dropped = dropout(values, 0.5, training=True, locked=locked)
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    assert gradient.equal(dropped.detach())


@pytest.mark.parametrize("place", ["embedding_dropout", "layer_dropout", "output_dropout"])
def test_a_model_locks_its_masks_everywhere_or_nowhere(make_model, place):
    # without recurrence and over equal tokens, outputs differ from step to step by their masks alone: what a mask
    # leaves out of a sum of weights around 0.4 is far more than rounding
    rates = {"embedding_dropout": 0.0, "layer_dropout": 0.0, "output_dropout": 0.0, place: 0.5}
    for locked in (False, True):
        model = make_model("rnn", num_layers=2, locked_dropout=locked, **rates).train()
        with torch.no_grad():
            for layer in model.recurrent.layers:
                layer.weight_hh_l0.zero_()
        hidden, _ = model.features(torch.full((3, 4), 7), model.initial_state(3))
        assert all(hidden[:, step].allclose(hidden[:, 0], atol=1e-5) for step in range(4)) == locked
        assert not hidden[0].allclose(hidden[1], atol=1e-2)
