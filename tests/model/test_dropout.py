"""Dropout along time: a new mask for every step, or one for the whole window; and dropout of whole word types."""

import pytest
import torch
from torch.nn import functional as F

from lmkit.model.dropout import dropout, type_dropout

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


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_as_many_types_are_dropped_as_asked_for_each_wherever_it_stands(rate):
    tokens = torch.randint(1000, (40, 50))
    dropped = type_dropout(torch.ones(40, 50, 3), tokens, 1000, rate, training=True)
    kept = torch.tensor(1 / (1 - rate))
    assert ((dropped == 0) | dropped.isclose(kept)).all()
    of_type = torch.full((1000, 3), -1.0)
    of_type[tokens] = dropped
    assert of_type[tokens].equal(dropped), "a type is dropped everywhere or nowhere"
    assert (of_type[of_type >= 0] == 0).double().mean().item() == pytest.approx(rate, abs=0.05)


@pytest.mark.parametrize("locked", [False, True])
def test_a_model_drops_types_by_one_mask_and_keeps_a_tied_output_layer_whole(make_model, locked):
    rates = {"embedding_type_dropout": 0.5, "embedding_dropout": 0.25, "locked_dropout": locked}
    model = make_model(tie_embeddings=True, **rates).train()
    tokens, state = torch.randint(12, (3, 7)), model.initial_state(3)
    torch.manual_seed(8)
    found, _ = model(tokens, state)
    torch.manual_seed(8)
    mask = torch.empty(12).bernoulli_(0.5) / 0.5
    embedded = F.embedding(tokens.t(), model.embedding.weight * mask[:, None])
    hidden, _ = model.recurrent(dropout(embedded, 0.25, training=True, locked=locked), state)
    expected = hidden.transpose(0, 1) @ model.embedding.weight.t() + model.head.bias
    torch.testing.assert_close(found, expected)
    assert 0 < mask.count_nonzero() < 12
    assert not model(tokens, state)[0].allclose(found, atol=1e-3), "every window has a mask of its own"
    assert model.eval()(tokens, state)[0].equal(make_model(tie_embeddings=True).eval()(tokens, state)[0])


def test_a_type_that_is_dropped_has_no_gradient_from_the_embedding(make_model):
    model = make_model(embedding_type_dropout=0.5).train()
    tokens = torch.arange(12).view(2, 6)
    model.nll_sum(tokens, tokens, model.initial_state(2))[0].backward()
    of_types = model.embedding.weight.grad.abs().sum(1)
    assert 0 < of_types.count_nonzero() < 12
