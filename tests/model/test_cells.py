"""What every cell of the table keeps, however it computes."""

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.model.cells import ATTENTIONS, CELLS
from lmkit.model.cells.residual import ResidualBlock
from lmkit.model.shapes import stored_shapes, stored_tensors

E, D, B, T = 5, 6, 3, 9

# What is held of every cell is held of its options that compute differently.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in CELLS},
    "transformer": ("transformer", {"context": 6}),  # less than a window
    "mingru in a block": ("mingru", {"block": "residual"}),
    "sha attention": ("gru", {"attention": 6, "attention_kind": "sha"}),
    "bahdanau attention": ("gru", {"attention": 6, "attention_kind": "bahdanau"}),
    "rnn, relu": ("rnn", {"nonlinearity": "relu"}),
    "rnn, sigmoid": ("rnn", {"nonlinearity": "sigmoid"}),
    "lstm, coupled": ("lstm", {"input_gate": "coupled"}),
    "lstm, capped": ("lstm", {"input_gate": "capped"}),
    "lstm, projected": ("lstm", {"projection_size": 4}),
    "lstm, coupled, projected": ("lstm", {"input_gate": "coupled", "projection_size": 4}),
}
on_every_cell = pytest.mark.parametrize("name", CASES)


def new_cell(name):
    cell, options = CASES[name][0], dict(CASES[name][1])
    if "attention" in options:
        return ATTENTIONS[options["attention_kind"]](E, context=options["attention"]).double()
    block = options.pop("block", None)
    make = partial(CELLS[cell], **options)
    return (ResidualBlock(make, E, D) if block else make(E, D)).double()


@pytest.fixture
def make_case(make_model):
    """A model of one of the cases."""

    def make(name, **more):
        cell, options = CASES[name]
        return make_model(cell, **options, **more)

    return make


@pytest.fixture
def make_cell():
    """A cell in float64, all of whose parameters are normal with deviation 0.4."""

    def make(name):
        torch.manual_seed(5)
        cell = new_cell(name)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.normal_(std=0.4)
        return cell

    return make


def random_inputs(steps=T, rows=B):
    return torch.randn(steps, rows, E, dtype=torch.float64)


def some_state(cell, rows=B):
    """A state that the cell can come to: that after some inputs."""
    with torch.no_grad():
        return cell(random_inputs(4, rows), cell.initial_state(rows))[1]


def assert_close(one, other):
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def steps_of(cell, inputs, state):
    outputs = []
    for projected in cell.project(inputs):
        output, state = cell.step(projected, state)
        outputs.append(output)
    return torch.stack(outputs), state


def test_the_options_name_the_cells_of_the_table():
    (item,) = [one for one in vars(ModelConfig)["__dataclass_fields__"].values() if one.name == "cell"]
    assert list(CELLS) == list(item.metadata["choices"])


@on_every_cell
def test_sizes_are_what_they_are_said_to_be(make_cell, name):
    cell, inputs = make_cell(name), random_inputs()
    assert cell.project(inputs).shape == (T, B, cell.projected_size)
    assert cell(inputs, cell.initial_state(B))[0].shape == (T, B, cell.output_size)
    state = cell.initial_state(B)
    assert len(state) == len(cell.state_names) == len(set(cell.state_names))
    assert {len(tensor) for tensor in state} == {B}
    assert [one.shape for one in state] == [one.shape for one in some_state(cell)]


@on_every_cell
def test_step_by_step_equals_whole_in_value_and_gradient(make_cell, name):
    cell, inputs = make_cell(name), random_inputs().requires_grad_()
    start = tuple(tensor.requires_grad_(tensor.is_floating_point()) for tensor in some_state(cell))
    (whole, end), (steps, end_of_steps) = cell(inputs, start), steps_of(cell, inputs, start)
    torch.testing.assert_close(whole, steps, rtol=1e-9, atol=1e-11)
    assert_close(end, end_of_steps)
    weights = torch.randn_like(whole)
    wanted = [inputs, *cell.parameters(), *(tensor for tensor in start if tensor.requires_grad)]
    one, other = (torch.autograd.grad((values * weights).sum(), wanted) for values in (whole, steps))
    assert_close(one, other)
    assert all(gradient.abs().sum() > 0 for gradient in one)


@on_every_cell
@pytest.mark.parametrize("sizes", [[1] * T, [4, 5], [8, 1], [2, 3, 4]])
def test_any_split_into_windows_is_one_pass(make_cell, name, sizes):
    cell, inputs = make_cell(name), random_inputs()
    start = state = some_state(cell)
    parts = []
    for part in inputs.split(sizes):
        outputs, state = cell(part, state)
        parts.append(outputs)
    whole, end = cell(inputs, start)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-9, atol=1e-11)
    assert_close(state, end)


@on_every_cell
def test_rows_are_independent(make_cell, name):
    cell, inputs = make_cell(name), random_inputs().requires_grad_()
    start = some_state(cell)
    together, end = cell(inputs, start)
    for row in range(B):
        alone, end_alone = cell(inputs[:, row : row + 1], tuple(tensor[row : row + 1] for tensor in start))
        torch.testing.assert_close(alone, together[:, row : row + 1], rtol=1e-9, atol=1e-11)
        assert_close(end_alone, [tensor[row : row + 1] for tensor in end])
    (gradient,) = torch.autograd.grad(together[:, 1].sum(), inputs)
    assert not gradient[:, [0, 2]].any()


@on_every_cell
def test_no_output_depends_on_a_later_input(make_cell, name):
    cell, inputs = make_cell(name), random_inputs().requires_grad_()
    outputs, _ = cell(inputs, some_state(cell))
    (gradient,) = torch.autograd.grad(outputs[3].sum(), inputs)
    assert gradient[:4].any(dim=2).all()
    assert not gradient[4:].any()


@on_every_cell
def test_gradients_are_finite_differences(make_cell, name):
    cell = make_cell(name)
    state = some_state(cell, rows=2)
    held = [tensor.requires_grad_() for tensor in state if tensor.is_floating_point()]

    def run(inputs, *_):
        outputs, end = cell(inputs, state)
        return (outputs, *(tensor for tensor in end if tensor.is_floating_point()))

    inputs = random_inputs(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(run, (inputs, *held, *cell.parameters()))


@on_every_cell
def test_a_state_is_a_value(make_cell, name):
    cell, inputs = make_cell(name), random_inputs()
    start = some_state(cell)
    before = [tensor.clone() for tensor in start]
    first, end = cell(inputs, start)
    after = [tensor.clone() for tensor in end]
    second, _ = cell(inputs, start)
    assert first.equal(second)
    assert all(one.equal(other) for one, other in zip([*start, *end], [*before, *after], strict=True))


@on_every_cell
def test_reset_restores_the_initial_state_of_its_rows_only(make_case, name):
    model = make_case(name, num_layers=2)
    _, state = model(torch.randint(12, (3, 6)), model.initial_state(3))
    after = model.reset(state, torch.tensor([False, True, False]))
    for now, then, first in zip(after, state, model.initial_state(3), strict=True):
        for new, old, initial in zip(now, then, first, strict=True):
            assert new[1].equal(initial[1])
            assert new[[0, 2]].equal(old[[0, 2]])


@on_every_cell
def test_gates_are_those_of_the_steps(make_cell, name):
    cell, inputs = make_cell(name), random_inputs()
    state = start = some_state(cell)
    gates = cell.gates(inputs, start)
    assert gates
    for step, projected in enumerate(cell.project(inputs)):
        for gate, values in cell.look(projected, state).items():
            torch.testing.assert_close(gates[gate][step], values, rtol=1e-9, atol=1e-11)
        _, state = cell.step(projected, state)


@on_every_cell
def test_equal_weights_are_an_equal_cell(make_cell, name):
    cell, inputs = make_cell(name), random_inputs()
    copy = new_cell(name)
    copy.load_state_dict(cell.state_dict())
    start = some_state(cell)
    assert copy(inputs, start)[0].equal(cell(inputs, start)[0])


@on_every_cell
def test_stored_shapes_are_known_without_memory(make_case, name):
    model = make_case(name, num_layers=3, embedding_size=4, tie_embeddings=True, head="adaptive", cutoffs=(4, 8))
    shapes = {name: tuple(tensor.shape) for name, tensor in stored_tensors(model).items()}
    state = torch.get_rng_state()
    assert stored_shapes(model.config, 12) == shapes
    assert torch.get_rng_state().equal(state)
    assert "head.tied" not in shapes


def test_shapes_of_no_cell_make_torch_import_its_compiler():
    code = """
import sys
from typing import Any
from lmkit.config import WITH_MATRICES, ModelConfig
from lmkit.model.cells import CELLS
from lmkit.model.shapes import stored_shapes
stored_shapes(ModelConfig(cell="gru", block="residual", hidden_size=8), 50)
for cell in CELLS:
    for head in ("full", "adaptive"):
        for tied in (False, True):
            stored_shapes(ModelConfig(cell=cell, head=head, tie_embeddings=tied, hidden_size=8), 50)
for cell in WITH_MATRICES:
    stored_shapes(ModelConfig(cell=cell, recurrent_init="orthogonal", recurrent_scale=0.5, hidden_size=8), 50)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.stdout == "False\n", done.stderr


@on_every_cell
def test_the_gates_of_a_cell_are_all_its_matrices_and_none_is_a_stack(name):
    cell = new_cell(name)
    gates = dict(cell.gate_rows())
    assert set(gates) == {parameter for parameter in cell.parameters() if parameter.dim() > 1}
    for parameter, rows in gates.items():
        assert sum(rows) == parameter.numel() // parameter.shape[-1]
        assert max(rows) <= max(E, D) or rows == (4 * D,)  # that of a feed-forward network is one matrix
    recurrent = [gates[cell.get_parameter(one)] for one in cell.recurrent_matrices]
    if hasattr(cell, "gate_matrices"):
        assert [len(matrix) for matrix in cell.gate_matrices()] == [size for rows in recurrent for size in rows]
    assert all(len(gates[cell.get_parameter(one)]) % len(cell.gate_names) == 0 for one in cell.recurrent_matrices)
    assert len(recurrent) == 0 or len(set(cell.gate_names)) == len(cell.gate_names) > 0
