"""Zoneout: units keep their value by masks in training, and move by their expectation everywhere else."""

import dataclasses

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.generation.decoder import StepDecoder
from lmkit.model.cells import CELLS
from lmkit.model.cells.zoneout import Zoneout
from lmkit.model.language_model import SequenceLoss

E, D, B, T, P = 5, 6, 3, 9, 0.3
ZONING = [name for name, cell in CELLS.items() if "h" in cell.state_names and set(cell.state_names) <= {"h", "c"}]

on_every_cell = pytest.mark.parametrize("name", ZONING)


@pytest.fixture
def make_zoneout():
    """A zoned-out cell in float64, all of whose parameters are normal with deviation 0.4."""

    def make(name):
        cell = Zoneout(CELLS[name], P, E, D).double()
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.normal_(std=0.4)
        return cell

    return make


def test_the_option_names_the_cells_whose_state_is_their_output_and_a_memory():
    (item,) = [one for one in dataclasses.fields(ModelConfig) if one.name == "zoneout"]
    assert set(item.metadata["cells"]) == set(ZONING)
    for name in CELLS.keys() - set(ZONING):
        with pytest.raises(ConfigError, match=f"--zoneout needs --cell .*: {name} does not have it"):
            ModelConfig(cell=name, zoneout=0.1)


@on_every_cell
def test_training_keeps_values_by_masks_drawn_for_each_step_row_and_unit(make_zoneout, name):
    cell = make_zoneout(name).train()
    inputs = torch.randn(T, B, E, dtype=torch.float64)
    start = tuple(torch.randn_like(one) for one in cell.initial_state(B))
    torch.manual_seed(8)
    found, end = cell(inputs, start)
    torch.manual_seed(8)
    masks = [torch.empty(T, *one.shape, dtype=one.dtype).bernoulli_(P) for one in start]
    state, outputs = start, []
    for step, projected in enumerate(cell.cell.project(inputs)):
        _, after = cell.cell.step(projected, state)
        pairs = zip(masks, state, after, strict=True)
        state = tuple(torch.where(mask[step] == 1, old, new) for mask, old, new in pairs)
        outputs.append(state[0])
    torch.testing.assert_close(found, torch.stack(outputs), rtol=1e-9, atol=1e-11)
    for one, other in zip(end, state, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    assert (found[1:] == found[:-1])[masks[0][1:] == 1].all(), "what is kept is kept to the last bit"


@on_every_cell
def test_elsewhere_a_unit_moves_by_its_expectation_step_by_step_as_in_the_whole(make_zoneout, name):
    cell = make_zoneout(name).eval()
    inputs = torch.randn(T, B, E, dtype=torch.float64)
    state = expected = cell.initial_state(B)
    whole, end = cell(inputs, state)
    for step, projected in enumerate(cell.project(inputs)):
        output, state = cell.step(projected, state)
        _, after = cell.cell.step(projected, expected)
        expected = tuple(P * old + (1 - P) * new for old, new in zip(expected, after, strict=True))
        torch.testing.assert_close(whole[step], output, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(output, expected[0], rtol=1e-9, atol=1e-11)
    for one, other in zip(end, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    assert cell(inputs, cell.initial_state(B))[0].equal(whole), "nothing is drawn"


@pytest.mark.parametrize(
    "options", [{"cell": "gru"}, {"cell": "lstm", "block": "residual"}, {"cell": "rglru"}], ids=str
)
def test_a_decoder_continues_what_a_model_has_read(make_model, options):
    model = make_model(num_layers=2, zoneout=P, **options).eval()
    tokens = torch.randint(12, (1, 8))
    expected, _ = model(tokens, model.initial_state(1))
    _, state = model(tokens[:, :5], model.initial_state(1))
    decode = StepDecoder(model)
    for position in range(5, 8):
        logits, state = decode(tokens[:, position], state)
        torch.testing.assert_close(logits, expected[:, position], rtol=1e-4, atol=1e-5)


def test_it_goes_with_the_other_regularisers_and_bfloat16(make_model, needs_bfloat16):
    needs_bfloat16("lstm")
    model = make_model(num_layers=2, zoneout=P, weight_drop=0.4, dropout=0.3, locked_dropout=True).train()
    tokens = torch.randint(12, (3, 7))
    with torch.autocast("cpu", torch.bfloat16):
        loss = SequenceLoss(model)(tokens, tokens, model.initial_state(3))
    loss.nll.backward()
    for cell in model.cells:
        (name,) = cell.recurrent_matrices
        gradient = cell.get_parameter(name).grad
        assert gradient.isfinite().all()
        assert (gradient == 0).float().mean() > 0.2, "what was dropped has no gradient"
