"""The adding problem: its sums, its chance, and the network that is trained on it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lmkit.errors import ConfigError
from lmkit.experiments.tasks.adding import CHANCE, AddingOptions, Regressor, adding_batch, train_adding
from lmkit.model.cells import CELLS


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [2, 3, 20])
def test_the_target_is_the_sum_of_one_marked_number_in_each_half(length):
    inputs, targets = adding_batch(length, 40, drawn(1))
    assert inputs.shape == (length, 40, 2)
    for row in range(40):
        (first, second) = [step for step in range(length) if inputs[step, row, 1] == 1]
        assert first < length // 2 <= second
        assert targets[row] == inputs[first, row, 0] + inputs[second, row, 0]
    assert set(inputs[:, :, 1].unique().tolist()) <= {0.0, 1.0}


def test_every_place_of_a_half_is_marked_at_some_time():
    marks = adding_batch(5, 400, drawn(2)).inputs[:, :, 1]
    assert (marks.sum(dim=1) > 50).all()


def test_chance_is_the_integral_of_the_squared_error_of_the_best_constant():
    points = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    sums = points[:, None] + points[None, :]
    assert sums.mean().item() == pytest.approx(1.0)
    assert (sums - 1).square().mean().item() == pytest.approx(CHANCE, abs=1e-6)
    targets = adding_batch(50, 100_000, drawn(3)).targets
    assert (targets - 1).square().mean().item() == pytest.approx(CHANCE, abs=5 * 0.2 / 100_000**0.5)


def test_a_sequence_without_two_halves_is_refused():
    with pytest.raises(ConfigError, match="two numbers or more"):
        adding_batch(1, 4, drawn(0))


@pytest.mark.parametrize("cell", CELLS)
def test_the_number_is_read_from_the_last_output_of_any_cell(cell):
    model = Regressor(cell, 2, 8, num_layers=2).eval()
    inputs, _ = adding_batch(6, 3, drawn(4))
    state = model.recurrent.initial_state(3)
    for step in inputs:
        output, state = model.recurrent(step[None], state)
    torch.testing.assert_close(model(inputs), model.output(output[0])[:, 0], rtol=1e-4, atol=1e-5)
    assert model(inputs).shape == (3,)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_training_is_adam_on_fresh_batches(clip):
    options = AddingOptions(length=6, cell="irnn", hidden_size=8, max_steps=5, eval_every=2, clip=clip, seed=7)
    before = torch.random.get_rng_state()
    records = list(train_adding(options))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [record.step for record in records] == [2, 4, 5]
    torch.manual_seed(7)
    model, data = Regressor("irnn", 2, 8), drawn(7)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    for _ in range(5):
        inputs, targets = adding_batch(6, options.batch_size, data)
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        model.constrain()
    assert records[-1].batch_mse == pytest.approx(loss.item(), rel=1e-5)
    inputs, targets = adding_batch(6, options.eval_rows, drawn(2**40))
    assert records[-1].mse == pytest.approx(F.mse_loss(model(inputs), targets).item(), rel=1e-5)


def test_cells_get_their_own_options():
    torch.manual_seed(0)
    model = Regressor("rnn", 2, 8, options={"nonlinearity": "relu"})
    (cell,) = model.recurrent.cells
    assert cell.nonlinearity == "relu"
