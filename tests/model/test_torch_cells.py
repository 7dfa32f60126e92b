"""The cells that torch has, too: their equations by hand, and torch's own modules."""

import pytest
import torch

from lmkit.model.cells import CELLS

NAMES = ["rnn", "irnn", "gru", "lstm"]


def cell_of_one_unit(name, input_weights, state_weights, **options):
    """A cell whose gates have these products with an input and a state of one."""
    cell = CELLS[name](1, 1, **options)
    zeros = torch.zeros(len(input_weights))
    weights = {
        "weight_ih_l0": torch.tensor(input_weights)[:, None],
        "weight_hh_l0": torch.tensor(state_weights)[:, None],
    }
    cell.load_state_dict({**weights, "bias_ih_l0": zeros, "bias_hh_l0": zeros})
    return cell


def one_step(cell, *state):
    return cell.step(cell.project(torch.ones(1, 1)), tuple(torch.full((1, 1), value) for value in state))


def sigmoid(x):
    return 1 / (1 + torch.exp(-torch.tensor([[x]])))


def tanh(x):
    return torch.tanh(torch.as_tensor(x).reshape(1, 1))


@torch.no_grad()
def test_equations_by_hand():
    for nonlinearity, expected in (("tanh", tanh(0.3)), ("sigmoid", sigmoid(0.3)), ("relu", torch.tensor([[0.3]]))):
        cell = cell_of_one_unit("rnn", [0.1], [0.4], nonlinearity=nonlinearity)
        torch.testing.assert_close(one_step(cell, 0.5)[0], expected)
    torch.testing.assert_close(one_step(cell_of_one_unit("rnn", [0.1], [0.4]), 0.5)[0], tanh(0.3))
    assert one_step(cell_of_one_unit("irnn", [0.5], [-1.0]), 1.0)[0].item() == 0
    assert one_step(cell_of_one_unit("irnn", [0.5], [1.0]), 1.0)[0].item() == 1.5

    # gates stand in torch's order: reset, update, candidate
    update, candidate = sigmoid(0.7), tanh(0.3 + sigmoid(0.5) * 0.6)
    output, _ = one_step(cell_of_one_unit("gru", [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]), 1.0)
    torch.testing.assert_close(output, (1 - update) * candidate + update)

    # gates stand in torch's order: input, forget, candidate, output
    output, (h, c) = one_step(cell_of_one_unit("lstm", [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]), 1.0, 0.25)
    expected = sigmoid(2.2) * 0.25 + sigmoid(1.1) * tanh(3.3)
    torch.testing.assert_close(c, expected)
    torch.testing.assert_close(output, sigmoid(4.4) * tanh(expected))
    assert h.equal(output)


@torch.no_grad()
def test_gates_have_their_names():
    cell = cell_of_one_unit("lstm", [0.1, 0.2, 0.3, 0.4], [0.0] * 4)
    gates = cell.gates(torch.ones(1, 1, 1), cell.initial_state(1))
    expected = {"input": sigmoid(0.1), "forget": sigmoid(0.2), "candidate": tanh(0.3), "output": sigmoid(0.4)}
    assert {name: float(value) for name, value in gates.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}
    )
    cell = cell_of_one_unit("gru", [0.1, 0.2, 0.3], [0.0] * 3)
    gates = cell.gates(torch.ones(1, 1, 1), cell.initial_state(1))
    expected = {"reset": sigmoid(0.1), "update": sigmoid(0.2), "candidate": tanh(0.3)}
    assert {name: float(value) for name, value in gates.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_trace_is_what_the_kernels_compute_in_value_and_gradient(make_model, name, num_layers):
    model = make_model(name, num_layers=num_layers, embedding_size=4).double()
    tokens = torch.randint(12, (3, 7))
    weights = torch.randn(3, 7, 6, dtype=torch.float64)
    start = tuple(
        tuple(torch.randn(3, 6, dtype=torch.float64, requires_grad=True) for _ in layer)
        for layer in model.initial_state(3)
    )
    inputs = [p for key, p in model.named_parameters() if not key.startswith("head.")]
    inputs += [tensor for layer in start for tensor in layer]

    kernel, end = model.features(tokens, start)
    trace = model.trace(tokens, start)
    torch.testing.assert_close(trace.h[-1], kernel, rtol=1e-10, atol=1e-12)
    for layer in range(num_layers):
        torch.testing.assert_close(trace.h[layer][:, -1], end[layer][0], rtol=1e-10, atol=1e-12)
        if name == "lstm":
            torch.testing.assert_close(trace.c[layer][:, -1], end[layer][1], rtol=1e-10, atol=1e-12)
    assert len(trace.c) == (num_layers if name == "lstm" else 0)

    of_kernel = torch.autograd.grad((kernel * weights).sum(), inputs)
    of_written = torch.autograd.grad((trace.h[-1] * weights).sum(), inputs)
    for kernel_gradient, written_gradient in zip(of_kernel, of_written, strict=True):
        assert kernel_gradient.abs().sum() > 0
        torch.testing.assert_close(written_gradient, kernel_gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_the_trace_shows_every_step_of_every_layer(make_model, name):
    model = make_model(name, num_layers=2).double()
    tokens = torch.randint(12, (2, 5))
    trace = model.trace(tokens, model.initial_state(2))
    state = model.initial_state(2)
    for step in range(5):
        _, state = model(tokens[:, step : step + 1], state)
        for layer in range(2):
            torch.testing.assert_close(trace.h[layer][:, step], state[layer][0], rtol=1e-10, atol=1e-12)
            if name == "lstm":
                torch.testing.assert_close(trace.c[layer][:, step], state[layer][1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_trace_has_no_dropout(make_model, name):
    model = make_model(name, num_layers=2, dropout=0.5).train()
    tokens = torch.randint(12, (2, 5))
    noisy = model.trace(tokens, model.initial_state(2)).h[-1]
    assert model.training
    torch.testing.assert_close(noisy, model.eval().features(tokens, model.initial_state(2))[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_stack_equals_torchs_own_multi_layer_module(make_model, name):
    model = make_model(name, num_layers=2, embedding_size=4)
    modules = {"rnn": torch.nn.RNN, "irnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    options = {"nonlinearity": "relu"} if name == "irnn" else {}
    whole = modules[name](4, 6, 2, batch_first=True, **options)
    for layer in range(2):
        for key, value in model.recurrent.layers[layer].state_dict().items():
            whole.get_parameter(key.replace("l0", f"l{layer}")).data.copy_(value)
    tokens = torch.randint(12, (3, 7))
    hidden, end = model.features(tokens, model.initial_state(3))
    expected, torch_end = whole(model.embedding(tokens))
    torch.testing.assert_close(hidden, expected)
    parts = torch_end if name == "lstm" else (torch_end,)
    for layer in range(2):
        for mine, other in zip(end[layer], parts, strict=True):
            torch.testing.assert_close(mine, other[layer])
