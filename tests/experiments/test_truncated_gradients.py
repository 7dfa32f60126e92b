"""Gradients of styles of truncation beside the whole one, and what a window keeps for its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmkit.config import TrainingConfig
from lmkit.experiments.tools.truncated_gradients import epoch_gradient, kept_bytes, spread

IDS = np.random.default_rng(1).integers(0, 7, 40).astype(np.uint8)


def test_the_gradient_of_uncut_rows_is_that_of_the_whole_text_whatever_the_seed(random_model):
    model = random_model("gru", 8).double()
    training = TrainingConfig(truncation="none", batch_size=1)
    found = [epoch_gradient(model, IDS, 7, training, seed) for seed in (0, 1)]
    tokens = torch.tensor([[7, *IDS.tolist()]])
    nll, _ = model.nll_sum(tokens[:, :-1], tokens[:, 1:], model.initial_state(1))
    expected = torch.cat([one.flatten() for one in torch.autograd.grad(nll, list(model.parameters()))])
    for one in found:
        torch.testing.assert_close(one, expected, rtol=1e-10, atol=1e-10)


def test_the_mean_of_many_draws_of_artbp_is_near_the_whole_gradient_and_that_of_short_windows_is_not(random_model):
    model = random_model("gru", 8).double()
    whole = epoch_gradient(model, IDS, 7, TrainingConfig(truncation="none", batch_size=2), 0)
    found = {}
    for style in ("artbp", "fixed"):
        training = TrainingConfig(truncation=style, batch_size=2, window=4)
        draws = [epoch_gradient(model, IDS, 7, training, seed) for seed in range(30)]
        found[style] = spread(draws, whole)
    assert found["artbp"].bias < 0.5 * found["fixed"].bias
    assert found["artbp"].spread > found["fixed"].spread


def test_bias_and_spread_are_shares_of_the_whole_gradients_norm():
    whole = torch.tensor([3.0, 4.0])
    apart = spread([torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0])], 0.5 * whole)
    assert list(apart) == pytest.approx([1.0, 0.0, 1.0])
    around = spread([whole + 1, whole - 1], whole)
    assert list(around) == pytest.approx([0.0, 2 / 5, 1.0])
    noisy = spread([torch.tensor([5.0 + sign, 0.0]) for sign in (1, -1)], torch.tensor([4.0, 0.0]))
    assert noisy.bias == 0.0, "two draws that are so far apart say nothing of a bias of one"


def test_a_window_keeps_twice_as_much_of_twice_the_rows_or_steps(random_model):
    model = random_model("rnn", 8)
    kept = {(rows, steps): kept_bytes(model, rows, steps) for rows in (2, 4) for steps in (10, 20)}
    rows, steps = (kept[4, 10] - kept[2, 10], kept[2, 20] - kept[2, 10])
    assert rows == pytest.approx(steps, rel=0.1)
    assert rows > 2 * 10 * 8 * 4
