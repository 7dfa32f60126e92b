"""Sensitivity by lag is what plain differentiation gives."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lmkit.inspection.gradients.sensitivity import Norms, measure_sensitivity, token_influence
from lmkit.model.cells import CELLS
from tests.inspection.cells import OPTIONS, close

R, T, V = 3, 6, 11


def texts(rows=R, steps=T):
    return torch.randint(V, (rows, steps)), torch.randint(V, (rows,))


def begun(model, rows=R):
    """A state that is none of the beginning."""
    with torch.no_grad():
        return model.features(torch.randint(V, (rows, 4)), model.initial_state(rows))[1]


@pytest.fixture
def positive_network(random_model):
    """A rectified network in which nothing is ever cut off: its step is linear."""
    model = random_model("rnn", V, nonlinearity="relu").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
        model.cells[0].weight_hh_l0.mul_(0.3)
    return model


def test_of_a_linear_network_it_is_the_powers_of_its_matrix(positive_network):
    model = positive_network
    (inputs, targets), state = texts(), model.initial_state(R)
    found = measure_sensitivity(model, inputs, targets, state)
    hidden, _ = model.features(inputs, state)
    last = hidden[:, -1].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.head.nll(last, targets).sum(), last)
    matrix = model.cells[0].weight_hh_l0
    for lag in range(T):
        expected = (gradient @ torch.linalg.matrix_power(matrix, lag)).norm(dim=1)
        close(found.of(0, "h").rows[:, lag], expected)
    close(found.losses, model.head.nll(last, targets))


def test_of_stacked_lstms_it_is_the_gradient_through_the_equations_written_out(random_model):
    model = random_model("lstm", V, num_layers=2).double()
    (inputs, targets), state = texts(), begun(model)
    held, lower = [], [model.embedding(inputs[:, step]) for step in range(T)]
    for layer, (cell, (h, c)) in enumerate(zip(model.cells, state, strict=True)):
        outputs = []
        for step, x in enumerate(lower):
            sums = x @ cell.weight_ih_l0.T + cell.bias_ih_l0 + h @ cell.weight_hh_l0.T + cell.bias_hh_l0
            i, f, g, o = sums.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            held += [(layer, "h", T - 1 - step, h), (layer, "c", T - 1 - step, c)]
            outputs.append(h)
        lower = outputs
    loss = F.cross_entropy(lower[-1] @ model.head.weight.T + model.head.bias, targets, reduction="sum")
    gradients = torch.autograd.grad(loss, [value for *_, value in held])
    found = measure_sensitivity(model, inputs, targets, state)
    for (layer, name, lag, _), gradient in zip(held, gradients, strict=True):
        close(found.of(layer, name).rows[:, lag], gradient.norm(dim=1))


@pytest.mark.parametrize("cell", OPTIONS)
def test_of_any_cell_it_is_the_gradient_of_the_kernels(random_model, cell):
    """With respect to the embeddings, and to the h that a window begins with: cut there, it has no other path."""
    name, options = OPTIONS[cell]
    model = random_model(name, V, **options).double().eval()
    (inputs, targets), state = texts(), begun(model)
    found = measure_sensitivity(model, inputs, targets, state)
    embedded = model.embedding(inputs.t()).detach().requires_grad_()
    outputs, _ = model.recurrent(embedded, state)
    (gradient,) = torch.autograd.grad(model.head.nll(outputs[-1], targets).sum(), embedded)
    close(found.inputs.rows, gradient.norm(dim=2).flip(0).t())
    if "h" in model.cells[0].state_names and not model.cells[0].residual and len(model.cells) == 1:
        place = model.cells[0].state_names.index("h")
        for lag in (1, T - 2):
            _, cut = model.features(inputs[:, : T - lag], state)
            held = cut[0][place].detach().requires_grad_()
            layer = tuple(held if number == place else value for number, value in enumerate(cut[0]))
            hidden, _ = model.features(inputs[:, T - lag :], (layer, *cut[1:]))
            (gradient,) = torch.autograd.grad(model.head.nll(hidden[:, -1], targets).sum(), held)
            close(found.of(0, "h").rows[:, lag], gradient.norm(dim=1))


def test_every_cell_of_the_table_is_among_them():
    assert {name for name, _ in OPTIONS.values()} == set(CELLS)


def test_the_influence_of_tokens_is_that_of_every_prediction_by_itself(random_model):
    model = random_model("gru", V, num_layers=2).double()
    tokens, targets = torch.randint(V, (5,)), torch.randint(V, (5,))
    found = token_influence(model, tokens, targets, model.initial_state(1))
    assert not np.triu(found, 1).any()
    for last in range(5):
        alone = measure_sensitivity(model, tokens[None, : last + 1], targets[None, last], model.initial_state(1))
        close(found[last, : last + 1][::-1], alone.inputs.rows[0])


def test_a_model_in_training_without_gradients_is_looked_at_alike(random_model):
    model = random_model("lstm", V, dropout=0.5).double()
    inputs, targets = texts()
    wanted = measure_sensitivity(model.eval(), inputs, targets, model.initial_state(R))
    model.train()
    with torch.no_grad():
        found = measure_sensitivity(model, inputs, targets, model.initial_state(R))
    close(found.of(0, "c").rows, wanted.of(0, "c").rows)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_factor_is_that_of_a_geometric_series():
    assert Norms("h", 0, 3 * 0.7 ** np.arange(9.0)[None]).factor == pytest.approx(0.7)
    assert Norms("h", 0, np.array([[1.0, 0.5, 0.0]])).factor == 0
    assert Norms("h", 0, np.array([[1.0]])).to_dict()["factor_per_step"] is None
