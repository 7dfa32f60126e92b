"""Cells that torch does not have, against their papers' equations in plain loops: no stabilisers, scans or chunks."""

import pytest
import torch

from lmkit.model.cells import CELLS
from lmkit.model.cells import mlstm as mlstm_module
from lmkit.model.scan import _by_doubling, _one_by_one, scan

E, D, B, T = 5, 6, 2, 11
sigmoid, tanh = torch.sigmoid, torch.tanh


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.float64)


def lstm(gates, c):
    i, f, g, o = gates.chunk(4, dim=1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return c, sigmoid(o)


def layer_norm(x, gain, bias=0.0):
    centred = x - x.mean(1, keepdim=True)
    return gain * centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() + bias


def lnlstm(p, inputs):
    h, c = zeros(B, D), zeros(B, D)
    for x in inputs:
        of_input = layer_norm(x @ p["from_input.weight"].T, p["norm_input.weight"], p["norm_input.bias"])
        of_state = layer_norm(h @ p["from_state.weight"].T, p["norm_state.weight"])
        c, o = lstm(of_input + of_state, c)
        h = o * tanh(layer_norm(c, p["norm_memory.weight"], p["norm_memory.bias"]))
        yield h


def mogrifier(p, inputs, rounds=5):
    h, c = zeros(B, D), zeros(B, D)
    for x in inputs:
        for number in range(rounds):
            weight = p[f"turns.{number}.weight"]
            if number % 2 == 0:
                x = 2 * sigmoid(h @ weight.T) * x
            else:
                h = 2 * sigmoid(x @ weight.T) * h
        c, o = lstm(x @ p["from_input.weight"].T + p["from_input.bias"] + h @ p["from_state.weight"].T, c)
        h = o * tanh(c)
        yield h


def qrnn(p, inputs, width=2):
    stream, c = [*[zeros(B, E)] * (width - 1), *inputs], zeros(B, D)
    for t in range(T):
        z, f, o = (torch.cat(stream[t : t + width], 1) @ p["linear.weight"].T + p["linear.bias"]).chunk(3, 1)
        c = sigmoid(f) * c + (1 - sigmoid(f)) * tanh(z)
        yield sigmoid(o) * c


def sru(p, inputs):
    c = zeros(B, D)
    for x in inputs:
        w, f, r = (x @ p["linear.weight"].T).chunk(3, 1)
        (v_f, v_r), (b_f, b_r) = p["weight_c"].chunk(2), p["bias"].chunk(2)
        f, r = sigmoid(f + v_f * c + b_f), sigmoid(r + v_r * c + b_r)
        c = f * c + (1 - f) * w
        yield r * c + (1 - r) * (x @ p["highway.weight"].T)


def g(x):
    return torch.where(x >= 0, x + 0.5, sigmoid(x))


def mingru(p, inputs):
    h = zeros(B, D)
    for x in inputs:
        z, n = (x @ p["linear.weight"].T + p["linear.bias"]).chunk(2, 1)
        h = (1 - sigmoid(z)) * h + sigmoid(z) * g(n)
        yield h


def minlstm(p, inputs):
    h = zeros(B, D)
    for x in inputs:
        f, i, n = (x @ p["linear.weight"].T + p["linear.bias"]).chunk(3, 1)
        f, i = sigmoid(f), sigmoid(i)
        h = f / (f + i) * h + i / (f + i) * g(n)
        yield h


def rglru(p, inputs):
    h = zeros(B, D)
    for x in inputs:
        u = x @ p["branch.weight"].T + p["branch.bias"]
        r, i = (u @ p["gate.weight"].T + p["gate.bias"]).chunk(2, 1)
        a = sigmoid(p["decay"]) ** (8 * sigmoid(r))
        h = a * h + (1 - a**2).sqrt() * sigmoid(i) * u
        yield h


def slstm(p, inputs, heads=2):
    h, c, n = zeros(B, D), zeros(B, D), zeros(B, D)
    matrices = [torch.block_diag(*p["recurrent"][gate]) for gate in range(4)]
    for x in inputs:
        parts = (x @ p["from_input.weight"].T + p["from_input.bias"]).chunk(4, 1)
        z, i, f, o = (part + h @ matrix for part, matrix in zip(parts, matrices, strict=True))
        c = sigmoid(f) * c + torch.exp(i) * tanh(z)
        n = sigmoid(f) * n + torch.exp(i)
        h = sigmoid(o) * c / n
        yield h


def mlstm(p, inputs, heads=2):
    d = D // heads
    memory, n = zeros(B, heads, d, d), zeros(B, heads, d)
    for x in inputs:
        projected = x @ p["linear.weight"].T + p["linear.bias"]
        q, k, v, o = (part.reshape(B, heads, d) for part in projected[:, : 4 * D].chunk(4, 1))
        i, f = projected[:, 4 * D :].chunk(2, 1)
        k = k / d**0.5
        memory = sigmoid(f)[..., None, None] * memory + torch.exp(i)[..., None, None] * v[..., None] * k[..., None, :]
        n = sigmoid(f)[..., None] * n + torch.exp(i)[..., None] * k
        read = (memory * q[..., None, :]).sum(-1) / (n * q).sum(-1, keepdim=True).abs().clamp_min(1)
        yield (sigmoid(o) * read).reshape(B, D)


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def turned(x, position):
    """A vector (B, d) whose pairs of coordinates are turned by angles that grow with the position."""
    half = x.shape[1] // 2
    turned = x.clone()
    for i in range(half):
        angle = torch.tensor(position / 10000 ** (i / half), dtype=x.dtype)
        turned[:, i] = x[:, i] * angle.cos() - x[:, i + half] * angle.sin()
        turned[:, i + half] = x[:, i] * angle.sin() + x[:, i + half] * angle.cos()
    return turned


def attended(query, keys, values):
    """The mean of values (B, d) by the softmax of the products of keys with a query."""
    scores = torch.stack([(query * key).sum(1) for key in keys]) / query.shape[1] ** 0.5
    weights = torch.exp(scores) / torch.exp(scores).sum(0)
    return sum(weight[:, None] * value for weight, value in zip(weights, values, strict=True))


def feed_forward(p, x, prefix="feed_forward"):
    normed = layer_norm(x, p[f"{prefix}.norm.weight"], p[f"{prefix}.norm.bias"])
    inner = gelu(normed @ p[f"{prefix}.up.weight"].T + p[f"{prefix}.up.bias"])
    return inner @ p[f"{prefix}.down.weight"].T + p[f"{prefix}.down.bias"]


def transformer(p, inputs, heads=2, context=128):
    """With keys and queries turned by their positions in the whole text, and no memory but what was read."""
    read = []
    for t, x in enumerate(inputs):
        x = x @ p["enter.weight"].T + p["enter.bias"]
        normed = layer_norm(x, p["norm.weight"], p["norm.bias"])
        q, k, v = (normed @ p["to_heads.weight"].T + p["to_heads.bias"]).chunk(3, 1)
        read.append((t, k, v))
        mixed = []
        for own in torch.arange(D).chunk(heads):
            keys = [turned(k[:, own], s) for s, k, _ in read[-context:]]
            mixed.append(attended(turned(q[:, own], t), keys, [v[:, own] for _, _, v in read[-context:]]))
        x = x + torch.cat(mixed, 1) @ p["from_heads.weight"].T + p["from_heads.bias"]
        yield x + feed_forward(p, x)


EQUATIONS = {
    "lnlstm": lnlstm,
    "mogrifier": mogrifier,
    "qrnn": qrnn,
    "sru": sru,
    "mingru": mingru,
    "minlstm": minlstm,
    "rglru": rglru,
    "slstm": slstm,
    "mlstm": mlstm,
    "transformer": transformer,
}


def make_cell(name, **options):
    torch.manual_seed(5)
    cell = CELLS[name](E, D, **options).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(std=0.7)
    return cell, dict(cell.named_parameters())


def torch_lstm(p, inputs, gate, projected):
    """An LSTM in the names of torch's parameters, with an input gate that hangs on the forget gate."""
    h, c = zeros(B, 4 if projected else D), zeros(B, D)
    for x in inputs:
        sums = x @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
        *own, f, g, o = sums.chunk(3 if gate == "coupled" else 4, dim=1)
        f = sigmoid(f)
        i = 1 - f if gate == "coupled" else sigmoid(own[0])
        if gate == "capped":
            i = torch.where(i < 1 - f, i, 1 - f)
        c = f * c + i * tanh(g)
        h = sigmoid(o) * tanh(c)
        if projected:
            h = h @ p["weight_hr_l0"].T
        yield h


@pytest.mark.parametrize("gate", ["untied", "coupled", "capped"])
@pytest.mark.parametrize("projected", [False, True])
@torch.no_grad()
def test_an_lstm_has_the_input_gate_and_the_projection_of_the_papers(gate, projected):
    cell, parameters = make_cell("lstm", input_gate=gate, projection_size=4 if projected else None)
    inputs = torch.randn(T, B, E, dtype=torch.float64)
    outputs, _ = cell(inputs, cell.initial_state(B))
    expected = torch.stack(list(torch_lstm(parameters, inputs, gate, projected)))
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-11)


def test_every_cell_has_its_equations_written_out_here_or_in_torch():
    assert {*EQUATIONS, "rnn", "irnn", "gru", "lstm"} == set(CELLS)


@pytest.mark.parametrize("name", EQUATIONS)
@torch.no_grad()
def test_a_cell_is_its_paper_s_equations(name):
    cell, parameters = make_cell(name)
    inputs = torch.randn(T, B, E, dtype=torch.float64)
    outputs, _ = cell(inputs, cell.initial_state(B))
    torch.testing.assert_close(outputs, torch.stack(list(EQUATIONS[name](parameters, inputs))), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "option", "value", "more"),
    [
        ("mogrifier", "mogrifier_rounds", 0, {"rounds": 0}),
        ("mogrifier", "mogrifier_rounds", 2, {"rounds": 2}),
        ("qrnn", "conv_width", 1, {"width": 1}),
        ("qrnn", "conv_width", 4, {"width": 4}),
        ("slstm", "heads", 3, {"heads": 3}),
        ("mlstm", "heads", 1, {"heads": 1}),
        ("transformer", "heads", 3, {"heads": 3}),
        ("transformer", "context", 1, {"context": 1}),
        ("transformer", "context", 4, {"context": 4}),
    ],
)
@torch.no_grad()
def test_options_are_those_of_the_equations(name, option, value, more):
    cell, parameters = make_cell(name, **{option: value})
    inputs = torch.randn(T, B, E, dtype=torch.float64)
    outputs, _ = cell(inputs, cell.initial_state(B))
    expected = torch.stack(list(EQUATIONS[name](parameters, inputs, **more)))
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-11)


@torch.no_grad()
def test_a_mogrifier_of_no_round_is_an_lstm():
    cell, parameters = make_cell("mogrifier", mogrifier_rounds=0)
    lstm_cell = CELLS["lstm"](E, D).double()
    names = {"weight_ih_l0": "from_input.weight", "weight_hh_l0": "from_state.weight", "bias_ih_l0": "from_input.bias"}
    weights = {own: parameters[name] for own, name in names.items()}
    lstm_cell.load_state_dict({**weights, "bias_hh_l0": zeros(4 * D)})
    inputs = torch.randn(T, B, E, dtype=torch.float64)
    expected, _ = lstm_cell(inputs, lstm_cell.initial_state(B))
    torch.testing.assert_close(cell(inputs, cell.initial_state(B))[0], expected)


SCANNED = ("qrnn", "mingru", "minlstm", "rglru", "sru", "mlstm")


@pytest.mark.parametrize("name", SCANNED)
def test_over_2048_steps_in_float32_a_window_is_its_steps_in_value_and_gradient(name):
    torch.manual_seed(3)
    cell = CELLS[name](8, 8)
    inputs = torch.randn(2048, 2, 8, requires_grad=True)
    whole, _ = cell(inputs, cell.initial_state(2))
    outputs, state = [], cell.initial_state(2)
    for projected in cell.project(inputs):
        output, state = cell.step(projected, state)
        outputs.append(output)
    steps = torch.stack(outputs)
    # norms, because an mLSTM divides by numbers that may be small: its steps themselves are 1e-5 off in single places
    assert (whole - steps).norm() <= 1e-5 * steps.norm()
    weights, leaves = torch.randn_like(whole), (inputs, *cell.parameters())
    found, expected = (torch.autograd.grad((values * weights).sum(), leaves) for values in (whole, steps))
    assert all((one - other).norm() <= 1e-5 * other.norm() for one, other in zip(found, expected, strict=True))


def test_the_memory_of_an_mlstm_does_not_depend_on_its_chunks(monkeypatch):
    cell, parameters = make_cell("mlstm")
    inputs = torch.randn(T, B, E, dtype=torch.float64)
    expected = torch.stack(list(mlstm(parameters, inputs)))
    for chunk in (1, 2, 5, 64):
        monkeypatch.setattr(mlstm_module, "CHUNK", chunk)
        torch.testing.assert_close(cell(inputs, cell.initial_state(B))[0], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["slstm", "mlstm"])
def test_gates_of_any_size_overflow_nowhere(name):
    torch.manual_seed(3)
    cell = CELLS[name](8, 8)
    inputs = 200 * torch.randn(20, 3, 8)
    inputs.requires_grad_()
    outputs, state = cell(inputs, cell.initial_state(3))
    (gradient,) = torch.autograd.grad(outputs.sum(), inputs)
    assert all(bool(torch.isfinite(values).all()) for values in (outputs, gradient, *state))


@pytest.mark.parametrize(("timescales", "fastest"), [("wide", 0.1), ("paper", 0.9)])
def test_an_rglru_begins_with_decays_of_many_timescales_or_near_one(timescales, fastest):
    kept = torch.sigmoid(CELLS["rglru"](1, 1024, timescales=timescales).get_parameter("decay")) ** 8
    assert kept.min().item() == pytest.approx(fastest, abs=0.01)
    assert kept.max().item() == pytest.approx(0.999, abs=0.01)


@pytest.mark.parametrize(("timescales", "biases"), [("wide", (-2, 2, 6)), ("paper", (3, 4.5, 6))])
def test_forget_gates_of_the_xlstm_begin_evenly_from_the_fastest_to_the_slowest(timescales, biases):
    slstm, mlstm = CELLS["slstm"](1, 3, timescales=timescales), CELLS["mlstm"](1, 3, heads=3, timescales=timescales)
    assert slstm.get_parameter("from_input.bias")[6:9].tolist() == pytest.approx(biases)
    assert mlstm.get_parameter("linear.bias")[-3:].tolist() == pytest.approx(biases)


@pytest.mark.parametrize(("timescales", "bias"), [("wide", 2), ("paper", 3)])
def test_the_forget_gate_of_a_single_head_begins_with_neither_the_shortest_nor_the_longest_memory(timescales, bias):
    assert CELLS["mlstm"](1, 3, heads=1, timescales=timescales).get_parameter("linear.bias")[-1] == bias


@pytest.mark.parametrize("steps", [1, 2, 3, 64, 100])
def test_the_two_ways_to_scan_are_one_in_value_and_gradient(steps):
    a, b = torch.rand(steps, 2, 3, dtype=torch.float64), torch.randn(steps, 2, 3, dtype=torch.float64)
    start = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(_by_doubling(a, b, start), _one_by_one(a, b, start), rtol=1e-12, atol=1e-12)
    if steps < 5:
        leaves = tuple(tensor.requires_grad_() for tensor in (a, b, start))
        assert torch.autograd.gradcheck(scan, leaves)


def test_over_2048_steps_in_float32_the_two_ways_to_scan_are_one_however_near_one_the_coefficients():
    torch.manual_seed(3)
    b, start = torch.randn(2048, 2, 8), torch.randn(2, 8)
    for shift in (0.0, 3.0, 7.0):
        a = torch.sigmoid(torch.randn(2048, 2, 8) + shift)
        expected = _one_by_one(a.double(), b.double(), start.double())
        for way in (_by_doubling, _one_by_one):
            assert (way(a, b, start) - expected).norm() <= 1e-5 * expected.norm()


def test_a_scan_in_a_lower_precision_is_kept_in_float32():
    a, b, start = torch.rand(9, 2, 3).bfloat16(), torch.randn(9, 2, 3).bfloat16(), torch.zeros(2, 3)
    assert scan(a, b, start).dtype == torch.float32
    torch.testing.assert_close(scan(a, b, start), _one_by_one(a.float(), b.float(), start))


def test_an_sru_keeps_a_state_in_bfloat16_as_long_as_its_gate_says():
    cell = CELLS["sru"](1, 1)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.get_parameter("bias")[0] = 8.0  # f = 0.99966, which bfloat16 rounds to 1
    with torch.autocast("cpu", torch.bfloat16):
        _, (c,) = cell(torch.zeros(1000, 1, 1), (torch.ones(1, 1),))
    assert c.item() == pytest.approx(torch.sigmoid(torch.tensor(8.0)).item() ** 1000, rel=1e-3)
