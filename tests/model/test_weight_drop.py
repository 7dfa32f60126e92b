"""DropConnect on recurrent matrices: one mask a window, whole in evaluation, and the parameters stay what they are."""

import copy
import dataclasses

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.model.cells import CELLS
from lmkit.model.language_model import SequenceLoss
from lmkit.model.memory import training_bytes

RATE = 0.4
WITH_MATRICES = [name for name, cell in CELLS.items() if cell.recurrent_matrices]

on_every_cell = pytest.mark.parametrize("name", WITH_MATRICES)


def test_the_option_names_the_cells_that_have_recurrent_matrices():
    (item,) = [one for one in dataclasses.fields(ModelConfig) if one.name == "weight_drop"]
    assert set(item.metadata["cells"]) == set(WITH_MATRICES)
    for name in CELLS.keys() - set(WITH_MATRICES):
        assert ModelConfig(cell=name, weight_drop=0.0).weight_drop == 0
        with pytest.raises(ConfigError, match=f"--weight-drop needs --cell .*: {name} does not have it"):
            ModelConfig(cell=name, weight_drop=0.5)


def with_masks(model):
    """A copy of the model, in evaluation, whose matrices were masked by hand, in the order of its layers; the masks."""
    masked, masks = copy.deepcopy(model).eval(), {}
    for number, cell in enumerate(masked.cells):
        for name in cell.recurrent_matrices:
            matrix = cell.get_parameter(name)
            mask = masks[number, name] = torch.empty_like(matrix).bernoulli_(1 - RATE) / (1 - RATE)
            matrix.data *= mask
    return masked, masks


@on_every_cell
def test_a_window_is_that_of_matrices_masked_by_hand_in_value_and_gradient(make_model, name):
    model = make_model(name, num_layers=2, weight_drop=RATE).double().train()
    tokens, targets = torch.randint(12, (2, 3, 7))
    torch.manual_seed(8)
    nll, state = model.nll_sum(tokens, targets, model.initial_state(3))
    torch.manual_seed(8)
    masked, masks = with_masks(model)
    expected, expected_state = masked.nll_sum(tokens, targets, masked.initial_state(3))
    torch.testing.assert_close(nll, expected, rtol=1e-12, atol=0)
    for one, other in zip(sum(state, ()), sum(expected_state, ()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    nll.backward()
    expected.backward()
    for number, (cell, other) in enumerate(zip(model.cells, masked.cells, strict=True)):
        for key, parameter in cell.named_parameters():
            gradient = other.get_parameter(key).grad * masks.get((number, key), 1.0)
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


@on_every_cell
def test_parameters_stay_what_they_are_and_evaluation_is_whole(make_model, name):
    model, plain = make_model(name, weight_drop=RATE), make_model(name)
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    parameters, tokens = list(model.parameters()), torch.randint(12, (3, 7))
    state = model.initial_state(3)
    first, second = (model.train()(tokens, state)[0] for _ in range(2))
    assert not first.allclose(second, atol=1e-3), "every window has a mask of its own"
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    assert all(parameter.equal(before[key]) for key, parameter in model.named_parameters())
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert model.eval()(tokens, state)[0].equal(plain.eval()(tokens, state)[0])


def test_it_goes_with_locked_dropout_and_bfloat16(make_model, needs_bfloat16):
    needs_bfloat16("lstm")
    model = make_model(num_layers=2, weight_drop=RATE, dropout=0.3, locked_dropout=True).train()
    tokens = torch.randint(12, (3, 7))
    with torch.autocast("cpu", torch.bfloat16):
        loss = SequenceLoss(model)(tokens, tokens, model.initial_state(3))
    loss.nll.backward()
    for cell in model.cells:
        gradient = cell.get_parameter(cell.recurrent_matrices[0]).grad
        assert gradient.dtype == torch.float32
        assert gradient.isfinite().all()
        assert (gradient == 0).float().mean() > RATE / 2, "what was dropped has no gradient"


def test_masks_and_masked_matrices_are_in_the_estimate_of_the_memory(make_model):
    plain, dropped = (make_model(weight_drop=rate) for rate in (0.0, RATE))
    needs = [
        training_bytes(model, moments=2, rows=2, steps=4, device=torch.device("cpu")) for model in (plain, dropped)
    ]
    assert needs[1] - needs[0] == 2 * 4 * 4 * 6 * 6
