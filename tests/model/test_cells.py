"""The cells written out from their equations, and torch's kernels: one function, gradients included."""

import pytest
import torch

from lmkit.model.cells import CELLS, gru_step, irnn_step, lstm_step, rnn_step

NAMES = ["rnn", "irnn", "gru", "lstm"]


def test_the_cells_are_these():
    assert list(CELLS) == NAMES
    assert [CELLS[name].num_gates for name in NAMES] == [1, 1, 3, 4]
    assert [CELLS[name].num_states for name in NAMES] == [1, 1, 1, 2]


def test_equations_by_hand():
    one = torch.ones(1, 1)
    h, c = 0.5 * one, 0.25 * one
    sigmoid = lambda x: 1 / (1 + torch.exp(-torch.tensor(x)))  # noqa: E731

    torch.testing.assert_close(rnn_step(0.1 * one, 0.2 * one, (h,))[0], torch.tanh(0.3 * one))
    assert irnn_step(0.5 * one, -1.0 * one, (h,))[0].item() == 0
    assert irnn_step(0.5 * one, 1.0 * one, (h,))[0].item() == 1.5

    # gates stand in torch's order: reset, update, new
    from_input, from_state = torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([[0.4, 0.5, 0.6]])
    update = sigmoid(0.7)
    new = torch.tanh(0.3 + sigmoid(0.5) * 0.6)
    torch.testing.assert_close(gru_step(from_input, from_state, (h,))[0], ((1 - update) * new + update * h))

    # gates stand in torch's order: input, forget, cell, output
    from_input, from_state = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    cell = sigmoid(2.2) * c + sigmoid(1.1) * torch.tanh(torch.tensor(3.3))
    expected = (sigmoid(4.4) * torch.tanh(cell), cell)
    torch.testing.assert_close(lstm_step(from_input, from_state, (h, c)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck_of_cells(name):
    kind = CELLS[name]

    def leaf(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    products = [leaf(3, kind.num_gates * 2) for _ in range(2)]
    state = [leaf(3, 2) for _ in range(kind.num_states)]
    assert torch.autograd.gradcheck(lambda x, u, *held: kind.step(x, u, held), (*products, *state))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_written_out_cells_equal_torch_in_value_and_gradient(make_model, name, num_layers):
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
