"""The state before any token, zero or learned: where a reading begins and where a reset leads back to."""

import pytest
import torch

from lmkit.config import WITH_REAL_STATES, ModelConfig
from lmkit.errors import ConfigError
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.generation.decoder import StepDecoder
from lmkit.model.cells import CELLS

on_every_cell = pytest.mark.parametrize("cell", WITH_REAL_STATES)
TOKENS = torch.arange(24).view(3, 8) % 12


@on_every_cell
def test_it_starts_as_that_of_a_network_without_and_changes_no_other_number(make_model, cell):
    plain, learned = (make_model(cell, num_layers=2, spread=None, initial_state=name) for name in ("zero", "learned"))
    found, expected = (model(TOKENS, model.initial_state(3))[0] for model in (learned, plain))
    assert found.equal(expected)
    assert plain.state_dict().keys() == {name for name in learned.state_dict() if ".initial." not in name}


@pytest.mark.parametrize(("cell", "block"), [*((cell, "plain") for cell in WITH_REAL_STATES), ("gru", "residual")])
def test_every_row_begins_with_it_and_a_reset_restores_it(make_model, cell, block):
    model = make_model(cell, num_layers=2, initial_state="learned", block=block)
    first = model.initial_state(3)
    layers = zip(model.cells, model.recurrent.initial, strict=True)
    values = [learned[name] for cell, learned in layers for name in cell.state_names]
    flat = [tensor for layer in first for tensor in layer]
    assert len(values) == len(flat)
    for value, tensor in zip(values, flat, strict=True):
        assert all(row.equal(value) for row in tensor)
    _, state = model(TOKENS, first)
    after = model.reset(state, torch.tensor([False, True, False]))
    for now, then, start in zip(after, state, first, strict=True):
        for new, old, own in zip(now, then, start, strict=True):
            assert new[1].equal(own[1])
            assert new[[0, 2]].equal(old[[0, 2]])
    gradients = torch.autograd.grad(sum(tensor.sum() for layer in after for tensor in layer), values)
    assert all(gradient.any() for gradient in gradients)


@on_every_cell
def test_sampling_and_measuring_begin_with_it_and_keep_no_graph(make_model, cell):
    model = make_model(cell, num_layers=2, initial_state="learned").double()
    predictor, decoder = NetworkPredictor(model), StepDecoder(model)
    state = predictor.initial_state(3)
    assert not any(tensor.requires_grad for layer in state for tensor in layer)
    again = predictor.reset(state, torch.tensor([True, False, True]))
    assert not any(tensor.requires_grad for layer in again for tensor in layer)
    expected, _ = model(TOKENS, model.initial_state(3))
    state = model.initial_state(3)
    for step, column in enumerate(TOKENS.T):
        logits, state = decoder(column, state)
        torch.testing.assert_close(logits, expected[:, step].detach(), rtol=1e-9, atol=1e-11)


def test_a_state_does_not_change_with_the_parameters_that_it_came_from(make_model):
    model = make_model("lstm", initial_state="learned")
    state = NetworkPredictor(model).initial_state(1)
    before = [tensor.clone() for tensor in state[0]]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(map(torch.equal, before, state[0]))


def test_states_that_hold_counts_or_stabilisers_are_not_learned():
    for cell in CELLS.keys() - set(WITH_REAL_STATES):
        with pytest.raises(ConfigError, match=rf"--initial-state needs --cell rnn, .*: {cell} does not have it"):
            ModelConfig(cell=cell, initial_state="learned")


def test_the_memory_of_an_attention_is_not_learned(make_model):
    model = make_model("gru", attention=3, initial_state="learned")
    state = model.initial_state(2)
    assert len(state) == 2
    assert state[0][0].requires_grad
    assert not any(tensor.requires_grad for tensor in state[1])
    assert [name for name, _ in model.named_parameters() if ".initial." in name] == ["recurrent.initial.0.h"]


def test_what_is_empty_is_no_parameter(make_model):
    model = make_model("qrnn", conv_width=1, initial_state="learned")
    assert {name for name, _ in model.named_parameters() if ".initial." in name} == {"recurrent.initial.0.c"}
