"""The rules of the experiments on gradients, on outcomes that are made up, and the deep network that one trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lmkit.experiments.catalogue import EXPERIMENTS
from lmkit.experiments.contract.outcomes import Outcomes, Run
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.verdict import Word
from lmkit.experiments.tasks.deep_network import (
    DeepOptions,
    DeepRecord,
    layer_gradients,
    new_network,
    teacher_batch,
    train_deep,
)
from lmkit.experiments.tools.bounds import above, below, corrected_mean


def made_up(name: str, values: Callable[[str], dict[str, float]], *, exactly: bool = False, seeds: int = 5) -> Outcomes:
    """Runs whose values differ a little from seed to seed, unless they are to be exact, by the name of the arm."""
    scale = Scale(seeds)
    arms = tuple(EXPERIMENTS[name].arms(scale))
    spread = 0.0 if exactly else 1e-3
    runs = [
        Run(arm.name, {}, seed, False, {key: value * (1 + spread * seed) for key, value in values(arm.name).items()})
        for arm in arms
        for seed in range(1, seeds + 1)
    ]
    return Outcomes(scale, arms, tuple(runs))


def words(name: str, values: Callable[[str], dict[str, float]], **how: Any) -> list[Word]:
    return [verdict.word for verdict in EXPERIMENTS[name].judge(made_up(name, values, **how))]


def radius(arm: str) -> float:
    return float(arm.rpartition(", ")[2]) if arm[:4] in ("tanh", "relu") else 1.0


def test_eigenvalues_decide_if_every_kind_does_as_its_radius_says():
    assert words("eigenvalues", lambda arm: {"factor": radius(arm)}) == [Word.HOLDS]
    assert words("eigenvalues", lambda arm: {"factor": 0.8 * min(1, radius(arm))}) == [Word.PARTLY]
    assert words("eigenvalues", lambda arm: {"factor": 1.2 - 0.5 * (radius(arm) > 1)}) == [Word.REFUTED]


def test_cures_are_judged_as_they_are_taught():
    def literature(arm: str) -> dict[str, float]:
        """Gates cure vanishing gradients and clipping exploding ones; identity helps a little less than gates."""
        wrong = 0.1 if "gated" in arm else 0.4 if "identity" in arm else 0.6 if arm.endswith("relu") else 0.87
        return {"wrong": wrong, "bounded": 2.0 if "clipped" in arm else 3.0}

    def swapped(arm: str) -> dict[str, float]:
        return {"wrong": 0.2 if "clipped" in arm else 0.87, "bounded": 2.0 if "gated" in arm else 3.0}

    assert words("cures", literature) == [Word.REFUTED, Word.HOLDS]
    assert words("cures", swapped)[0] is Word.HOLDS


def test_the_parts_of_what_cures_asks_stand_in_one_table():
    def literature(arm: str) -> dict[str, float]:
        return {"wrong": 0.1 if "gated" in arm else 0.87, "bounded": 2.0 if "clipped" in arm else 3.0}

    cures = EXPERIMENTS["cures"]
    table = cures.tables(made_up("cures", literature))[0]
    answers = {(one, task): answer for one, task, _, answer, _ in table.rows}
    assert answers == {
        ("clipped over plain", "vanishing"): "no",
        ("gated over plain", "exploding"): "no",
        ("gated over plain", "vanishing"): "yes",
        ("clipped over plain", "exploding"): "yes",
        ("relu over clipped", "vanishing"): "no",
        ("identity and relu over clipped", "vanishing"): "no",
        ("gated, clipped over clipped", "vanishing"): "yes",
        ("gated, clipped over identity and relu", "vanishing"): "yes",
    }
    assert table.rows[2][2].startswith("+77% [")


def test_depth_asks_for_a_gradient_that_falls_and_a_first_layer_that_lags():
    assert words("depth", lambda arm: {"factor": 0.5, "share": 0.01}) == [Word.HOLDS]
    assert words("depth", lambda arm: {"factor": 0.5, "share": 0.6}) == [Word.PARTLY]
    assert words("depth", lambda arm: {"factor": 1.1, "share": 0.6}) == [Word.REFUTED]


def test_a_border_is_judged_by_the_whole_interval():
    near, far = corrected_mean([0.9, 1.2], 1), corrected_mean([1.9, 2.0, 2.1], 1)
    assert (above(near, 1), above(far, 1), below(far, 1)) == (Word.UNDECIDED, Word.HOLDS, Word.REFUTED)
    wide, narrow = corrected_mean([1.9, 2.0, 2.1], 10), far
    assert wide.low is not None and narrow.low is not None
    assert wide.low < narrow.low
    assert above(corrected_mean([2.0], 1), 1) is Word.UNDECIDED


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_by_layer_are_the_products_of_the_layers_slopes(residual: bool):
    options = DeepOptions(3, start="orthogonal", residual=residual, seed=4)
    model = new_network(options).double()
    inputs, targets = teacher_batch(7, torch.Generator().manual_seed(1))
    inputs = inputs.double()
    found = layer_gradients(model, inputs, targets)
    values = model.hidden(inputs)
    last = values[-1].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model.leave(last), targets), last)
    expected = [float(gradient.norm())]
    for layer, value in zip(reversed(list(model.matrices())), reversed(values[1:]), strict=True):
        change = value - values[len(values) - 1 - len(expected)] if residual else value
        through = (gradient * (1 - change**2)) @ layer
        gradient = gradient + through if residual else through
        expected.insert(0, float(gradient.detach().norm()))
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_deep_training_is_plain_gradient_descent_and_a_function_of_its_options():
    options = DeepOptions(2, nonlinearity="relu", start="scaled", max_steps=3, lr=0.5, seed=2)
    (*_, record), (*_, again) = train_deep(options), train_deep(options)
    assert isinstance(record, DeepRecord) and isinstance(again, DeepRecord)
    assert record.loss == again.loss and record.changes == again.changes
    model, generator = new_network(options), torch.Generator().manual_seed(2)
    start = [matrix.detach().clone() for matrix in model.matrices()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        inputs, targets = teacher_batch(options.batch_size, generator)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    for one, other in zip(model.parameters(), record.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    changes = [
        float((one.detach() - other).norm() / other.norm()) for one, other in zip(model.matrices(), start, strict=True)
    ]
    assert record.changes == pytest.approx(changes, rel=1e-4)
    assert math.isfinite(record.loss)
