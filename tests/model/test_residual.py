"""The residual block: its equations, around every recurrent cell, behind the contract of a cell."""

from functools import partial

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.generation.decoder import StepDecoder
from lmkit.model.cells import CELLS
from lmkit.model.cells.residual import ResidualBlock

D, B, T = 6, 3, 9
RECURRENT = [name for name, cell in CELLS.items() if not cell.residual]


def layer_norm(x, norm):
    centred = x - x.mean(1, keepdim=True)
    return norm.weight * centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() + norm.bias


@torch.no_grad()
def test_a_block_is_its_equations():
    torch.manual_seed(5)
    block = ResidualBlock(CELLS["gru"], 4, D, top=True).double()
    for parameter in block.parameters():
        parameter.normal_(std=0.5)
    inputs, state = torch.randn(T, B, 4, dtype=torch.float64), block.cell.initial_state(B)
    outputs, normed = [], [torch.zeros(B, D, dtype=torch.float64)] * 3
    for x in inputs:
        x = x @ block.enter.weight.T + block.enter.bias
        normed.append(layer_norm(x, block.norm))
        convolved = block.conv_bias + sum(weight * u for weight, u in zip(block.conv, normed[-4:], strict=True))
        y, state = block.cell.step(block.cell.project(convolved), state)
        x = x + y
        branch = block.feed_forward
        inner = layer_norm(x, branch.norm) @ branch.up.weight.T + branch.up.bias
        inner = 0.5 * inner * (1 + torch.erf(inner / 2**0.5))
        outputs.append(layer_norm(x + inner @ branch.down.weight.T + branch.down.bias, block.top))
    found, (*of_cell, before) = block(inputs, block.initial_state(B))
    torch.testing.assert_close(found, torch.stack(outputs), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(of_cell[0], state[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(before, torch.stack(normed[-3:], dim=1), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("cell", RECURRENT)
@torch.no_grad()
def test_around_every_cell_windows_steps_and_the_decoder_give_the_same(make_model, cell):
    model = make_model(cell, block="residual", num_layers=2, embedding_size=4).double()
    decoder, tokens = StepDecoder(model), torch.randint(12, (B, T))
    whole, _ = model(tokens, model.initial_state(B))
    state = model.initial_state(B)
    windows = []
    for window in tokens.split([1, 6, 2], dim=1):
        logits, state = model(window, state)
        windows.append(logits)
    torch.testing.assert_close(torch.cat(windows, 1), whole, rtol=1e-9, atol=1e-9)
    state = model.initial_state(B)
    for step, column in enumerate(tokens.T):
        logits, state = decoder(column, state)
        torch.testing.assert_close(logits, whole[:, step], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        model.trace(tokens, model.initial_state(B)).h[-1], model.features(tokens, model.initial_state(B))[0]
    )


@torch.no_grad()
def test_the_decoders_rows_do_not_depend_on_each_other(make_model):
    model = make_model("lstm", block="residual", num_layers=2, hidden_size=33)
    decoder, tokens = StepDecoder(model), torch.randint(12, (5, 4))

    def run(rows):
        state = model.initial_state(len(rows))
        for column in tokens[rows].T:
            logits, state = decoder(column, state)
        return logits

    assert run([3, 1]).equal(run(list(range(5)))[[3, 1]])


def test_a_cell_of_another_output_size_comes_in_by_a_linear_map():
    block = ResidualBlock(lambda inputs, hidden: CELLS["gru"](inputs, hidden + 2), D, D)
    outputs, state = block(torch.randn(T, B, D), block.initial_state(B))
    assert outputs.shape == (T, B, D)
    assert state[0].shape == (B, D + 2)


@pytest.mark.parametrize("kept", ["cell", "feed-forward", "none"])
def test_each_branch_of_a_block_drops_and_the_stream_does_not(kept):
    block = ResidualBlock(partial(CELLS["mingru"]), D, D, dropout=0.5)
    block.leave = torch.nn.Linear(D, D)
    with torch.no_grad():
        for branch, module in {"cell": block.leave, "feed-forward": block.feed_forward.down}.items():
            for parameter in module.parameters():
                parameter.mul_(branch == kept)
    inputs = torch.randn(T, B, D)
    noisy, _ = block.train()(inputs, block.initial_state(B))
    clean, _ = block.eval()(inputs, block.initial_state(B))
    assert noisy.equal(clean) == (kept == "none")
    assert clean.equal(inputs) == (kept == "none")


def test_the_weight_drop_of_a_block_is_that_of_its_cell(make_model):
    model = make_model("lstm", block="residual", weight_drop=0.4).train()
    (block,) = model.cells
    assert block.recurrent_matrices == ("cell.weight_hh_l0",)
    tokens = torch.randint(12, (2, 5))
    torch.manual_seed(8)
    noisy, _ = model(tokens, model.initial_state(2))
    torch.manual_seed(8)
    with torch.no_grad():
        block.cell.weight_hh_l0.copy_(torch.nn.functional.dropout(block.cell.weight_hh_l0, 0.4))
    torch.testing.assert_close(model.eval()(tokens, model.initial_state(2))[0], noisy)


def test_start_values_and_bounds_of_a_cell_hold_inside_a_block(make_model):
    (block,) = make_model("irnn", block="residual", spread=None).cells
    assert block.cell.weight_hh_l0.equal(0.1 * torch.eye(6))
    with torch.no_grad():
        block.cell.weight_hh_l0.mul_(30)
    block.constrain()
    torch.testing.assert_close(block.cell.weight_hh_l0, 0.99 * torch.eye(6), rtol=1e-3, atol=1e-6)


def test_a_transformer_in_a_block_is_refused():
    with pytest.raises(ConfigError, match="--block residual needs a recurrent --cell"):
        ModelConfig(cell="transformer", block="residual")


def test_a_shape_names_block_and_attention():
    assert ModelConfig(cell="gru", hidden_size=8).shape == "gru 1 x 8"
    assert ModelConfig(cell="gru", hidden_size=8, block="residual").shape == "residual gru 1 x 8"
    attending = ModelConfig(hidden_size=8, attention=5, attention_kind="bahdanau")
    assert attending.shape == "lstm 1 x 8, bahdanau attention 5"
