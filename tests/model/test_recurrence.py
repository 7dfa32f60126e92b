"""The kernel that trains GRU and plain network on a CPU: torch's numbers, whatever is asked of its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lmkit.model import recurrence
from lmkit.model.cells import CELLS, Cell
from lmkit.model.cells.gru import GRU

E, H, B, T = 5, 6, 3, 9
CASES = {
    "gru": ("gru", {}),
    "tanh": ("rnn", {}),
    "relu": ("rnn", {"nonlinearity": "relu"}),
    "sigmoid": ("rnn", {"nonlinearity": "sigmoid"}),
}
on_every_case = pytest.mark.parametrize("name", CASES)


def make_cell(name: str, **options: str) -> Cell:
    """A cell in float64; with equal parameters whatever its kernel."""
    torch.manual_seed(3)
    cell, own = CASES[name]
    return CELLS[cell](E, H, **own, **options).double()


def some_window(steps: int = T) -> tuple[Tensor, Tensor]:
    """Inputs and a state whose gradients are wanted."""
    torch.manual_seed(4)
    inputs, h = torch.randn(steps, B, E).double(), torch.randn(B, H).double()
    return inputs.requires_grad_(), h.requires_grad_()


def gradients(cell: Cell, inputs: Tensor, h: Tensor, *, wanted: list[Tensor] | None = None) -> list[Tensor]:
    """Of a sum of all outputs and of the last state, with weights of their own."""
    outputs, (last,) = cell(inputs, (h,))
    torch.manual_seed(6)
    total = (outputs * torch.randn(outputs.shape, dtype=outputs.dtype)).sum() + (last**2).sum()
    return list(torch.autograd.grad(total, wanted or [inputs, h, *cell.parameters()]))


@on_every_case
@pytest.mark.parametrize(("steps", "rows"), [(1, 256), (T, 256), (T, 2 * B), (T, 1)])  # a part, parts of 2 steps, of 1
def test_values_and_gradients_are_those_of_torchs_kernel(name, steps, rows, monkeypatch):
    monkeypatch.setattr(recurrence, "ROWS_AT_ONCE", rows)
    own, other, window = make_cell(name), make_cell(name, kernel="torch"), some_window(steps)
    torch.testing.assert_close(own(window[0], window[1:])[0], other(window[0], window[1:])[0], rtol=0, atol=1e-13)
    for one, expected in zip(gradients(own, *window), gradients(other, *window), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-12, atol=1e-12)


@on_every_case
def test_without_gradients_and_where_it_is_asked_for_torchs_kernel_computes(name):
    (inputs, h), own, other = some_window(), make_cell(name), make_cell(name, kernel="torch")
    with_gradients = own(inputs, (h,))[0]
    with torch.no_grad():
        assert own(inputs, (h,))[0].equal(other(inputs, (h,))[0])
    assert type(with_gradients.grad_fn).__name__ in ("_GruBackward", "_RnnBackward")
    assert other(inputs, (h,))[0].grad_fn.name() not in ("_GruBackward", "_RnnBackward")


@on_every_case
def test_a_graph_that_is_kept_gives_its_gradients_again(name):
    (inputs, h), cell = some_window(), make_cell(name)
    total = (cell(inputs, (h,))[0] ** 2).sum()
    wanted = [inputs, h, *cell.parameters()]
    first, second = (torch.autograd.grad(total, wanted, retain_graph=True) for _ in range(2))
    assert all(one.equal(other) for one, other in zip(first, second, strict=True))


@on_every_case
@pytest.mark.parametrize("frozen", ["inputs", "weight_ih_l0", "weight_hh_l0", "bias_hh_l0"])
def test_what_wants_no_gradient_leaves_the_others_as_they_are(name, frozen):
    (inputs, h), cell = some_window(), make_cell(name)
    named = {"inputs": inputs, "h": h, **dict(cell.named_parameters())}
    whole = dict(zip(named, gradients(cell, inputs, h, wanted=list(named.values())), strict=True))
    named.pop(frozen).requires_grad_(False)
    for key, gradient in zip(named, gradients(cell, inputs, h, wanted=list(named.values())), strict=True):
        assert gradient.equal(whole[key]), key


@on_every_case
def test_in_bfloat16_products_are_rounded_and_states_are_not(name):
    (inputs, h), cell = (some.detach().float() for some in some_window()), make_cell(name).float()
    inputs.requires_grad_()
    exact, expected = cell(inputs, (h,))[0], gradients(cell, inputs, h, wanted=[inputs, *cell.parameters()])
    with torch.autocast("cpu", torch.bfloat16):
        outputs, (last,) = cell(inputs, (h,))
        found = gradients(cell, inputs, h, wanted=[inputs, *cell.parameters()])
    assert outputs.dtype == last.dtype == torch.float32
    assert not outputs.equal(outputs.bfloat16().float())
    torch.testing.assert_close(outputs, exact, rtol=0, atol=0.05)  # a few roundings to 8 bits of numbers of order one
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.05 * other.norm()


def test_a_gate_that_keeps_a_state_keeps_it_in_bfloat16_too():
    cell = GRU(1, 1)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.bias_ih_l0[1] = 8.0  # z = 0.99966, which bfloat16 rounds to 1
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = cell(torch.zeros(1000, 1, 1), (torch.ones(1, 1),))
    assert outputs[-1].item() == pytest.approx(torch.sigmoid(torch.tensor(8.0)).item() ** 1000, rel=1e-3)
