"""Muon: each gate of a recurrent layer orthogonalised by itself, and AdamW for all that is no matrix of one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lmkit.config import TrainingConfig
from lmkit.training.muon import COEFFICIENTS, ITERATIONS, MOMENTUM, orthogonalised
from lmkit.training.optimizers import make_optimizer

MUON: dict[str, Any] = {"optimizer": "muon", "lr": 0.01, "weight_decay": 0.1}
H, E = 6, 5


def with_singular_values(rows: int, columns: int, low: float = 0.5) -> Tensor:
    """A matrix in float64 with singular values from ``low`` to 1."""
    size = min(rows, columns)
    left, right = (torch.linalg.qr(torch.randn(one, size, dtype=torch.float64))[0] for one in (rows, columns))
    return left @ torch.diag(torch.linspace(low, 1, size, dtype=torch.float64)) @ right.T


def by_hand(gate: Tensor) -> Tensor:
    """The polynomial a x + b x^3 + c x^5, again and again, on the singular values."""
    a, b, c = COEFFICIENTS
    left, values, right = torch.linalg.svd(gate / gate.norm(), full_matrices=False)
    for _ in range(ITERATIONS):
        values = a * values + b * values**3 + c * values**5
    return left @ torch.diag(values) @ right


def trained(model: Any, optimizer: torch.optim.Optimizer, gradients: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The parameters after an update for each of the gradients."""
    for step in gradients:
        for name, parameter in model.named_parameters():
            parameter.grad = step[name].clone()
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def some_gradients(model: Any, steps: int = 3) -> list[dict[str, Tensor]]:
    return [{name: torch.randn_like(one) for name, one in model.named_parameters()} for _ in range(steps)]


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (4, 7), (7, 4)])
def test_singular_values_come_near_one_and_singular_vectors_stay(rows: int, columns: int):
    matrices = torch.stack([with_singular_values(rows, columns), 100 * with_singular_values(rows, columns)])
    found = orthogonalised(matrices)
    torch.testing.assert_close(found, torch.stack([by_hand(one) for one in matrices]), rtol=1e-9, atol=1e-11)
    values = torch.linalg.svdvals(found)
    assert bool(((values > 0.5) & (values < 1.5)).all())


def test_a_gate_without_a_gradient_does_not_move_and_is_no_nan():
    found = orthogonalised(torch.stack([torch.zeros(3, 3), torch.eye(3)]))
    assert not found[0].any()
    assert bool(torch.isfinite(found).all())


def test_one_gate_is_trained_as_by_torch(make_training):
    model = make_training(cell="rnn", hidden_size=H, embedding_size=E).train.model
    config = TrainingConfig(**MUON)
    cell = model.cells[0]
    matrices = [cell.weight_ih_l0, cell.weight_hh_l0]
    gradients = [{name: torch.randn_like(one) for name, one in model.named_parameters()} for _ in range(3)]
    for step in gradients:
        for name, one in cell.named_parameters():
            if one.dim() > 1:
                step[f"recurrent.layers.0.{name}"] = with_singular_values(*one.shape).float()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    own = trained(model, make_optimizer(model, config), gradients)
    model.load_state_dict(before, strict=False)
    theirs = torch.optim.Muon(
        matrices, lr=config.lr, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    expected = trained(model, theirs, gradients)
    largest = config.lr * 0.2 * math.sqrt(H) * len(gradients)  # that an entry can move by
    for name in ("recurrent.layers.0.weight_ih_l0", "recurrent.layers.0.weight_hh_l0"):
        assert bool((own[name] - before[name]).norm() > 0.1 * largest)
        torch.testing.assert_close(own[name], expected[name], rtol=0, atol=0.03 * largest)  # torch's is in bfloat16


@pytest.mark.parametrize("cell", ["lstm", "slstm", "mlstm", "mogrifier"])
def test_each_gate_of_a_stack_is_trained_as_if_it_were_alone(make_training, cell: str):
    model = make_training(cell=cell, hidden_size=H, embedding_size=E).train.model.double()
    config = TrainingConfig(**MUON)
    gates = dict(model.cells[0].gate_rows())
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    gradients = some_gradients(model)
    own = trained(model, make_optimizer(model, config), gradients)
    for name, parameter in model.named_parameters():
        if parameter not in gates:
            continue
        start, end, *steps = (
            values.flatten(0, -2).split(gates[parameter])
            for values in (before[name], own[name], *(step[name] for step in gradients))
        )
        for gate, moved, *gate_gradients in zip(start, end, *steps, strict=True):
            buffer = torch.zeros_like(gate)
            for gradient in gate_gradients:
                buffer = 0.95 * buffer + 0.05 * gradient
                update = by_hand(0.05 * gradient + 0.95 * buffer)
                gate = gate * (1 - 0.01 * 0.1) - 0.01 * 0.2 * math.sqrt(max(gate.shape)) * update
            torch.testing.assert_close(moved, gate, rtol=1e-9, atol=1e-11)


def test_embedding_output_layer_and_vectors_are_trained_as_by_adamw(make_training):
    options = {"cell": "gru", "hidden_size": H, "embedding_size": E, "tie_embeddings": True}
    one, other = (make_training(**options).train.model for _ in range(2))
    gradients = some_gradients(one)
    muon = make_optimizer(one, TrainingConfig(**MUON))
    own = trained(one, muon, gradients)
    expected = trained(other, make_optimizer(other, TrainingConfig(**{**MUON, "optimizer": "adamw"})), gradients)
    matrices = {f"recurrent.layers.0.weight_{kind}_l0" for kind in ("ih", "hh")}
    for name in own:
        assert torch.equal(own[name], expected[name]) == (name not in matrices), name
    memories = [set(memory) for memory in muon.state.values()]
    assert memories.count({MOMENTUM}) == 2
    assert memories.count({"step", "exp_avg", "exp_avg_sq"}) == len(own) - 2


def test_muon_may_have_a_rate_of_its_own_on_the_same_schedule(make_training):
    training = make_training(**MUON, muon_lr=0.05, schedule="cosine", max_steps=4, epochs=None)
    for record in training.run():
        rates = {group["lr"] for group in training.train.optimizer.param_groups if "gate_rows" not in group}
        (own,) = [group["lr"] for group in training.train.optimizer.param_groups if "gate_rows" in group]
        assert rates == {record.lr}
        assert own == pytest.approx(5 * record.lr)
