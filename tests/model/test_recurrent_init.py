"""How the matrices from the state to the gates start: each gate's by itself, and nothing else with them."""

import pytest
import torch

from lmkit.config import WITH_MATRICES, ModelConfig
from lmkit.errors import ConfigError
from lmkit.model.cells import CELLS
from lmkit.model.cells.matrix import MatrixCell

on_every_cell = pytest.mark.parametrize("name", WITH_MATRICES)


@pytest.fixture
def start(make_model):
    """The layers of a model as initialised; of an IRNN in the paper's form, which nothing bounds."""

    def make(name, **options):
        options |= {"irnn_form": "paper"} if name == "irnn" else {}
        return make_model(name, spread=None, num_layers=2, **options).cells

    return make


def test_the_options_name_the_cells_that_have_such_matrices():
    assert [name for name, cell in CELLS.items() if issubclass(cell, MatrixCell)] == list(WITH_MATRICES)


@on_every_cell
def test_there_is_a_square_matrix_for_each_gate_and_head(start, name):
    for layer in start(name):
        matrices = layer.gate_matrices()
        heads = getattr(layer, "heads", 1)
        assert {tuple(matrix.shape) for matrix in matrices} == {(6 // heads, 6 // heads)}
        assert len(matrices) == heads * {"rnn": 1, "irnn": 1, "gru": 3}.get(name, 4)
        with torch.no_grad():
            matrices[-1].fill_(7)  # a part of the parameters, not a copy
        assert any(bool((parameter == 7).any()) for parameter in layer.parameters())


@on_every_cell
def test_orthogonal_matrices_keep_the_length_of_a_state(start, name):
    for layer in start(name, recurrent_init="orthogonal", recurrent_scale=0.5):
        for matrix in layer.gate_matrices():
            torch.testing.assert_close(matrix @ matrix.T, 0.25 * torch.eye(len(matrix)))
        first, *others = layer.gate_matrices()
        assert not any(first.equal(other) for other in others)


@on_every_cell
def test_identities_are_scaled(start, name):
    for layer in start(name, recurrent_init="identity", recurrent_scale=0.9):
        for matrix in layer.gate_matrices():
            assert matrix.equal(0.9 * torch.eye(len(matrix)))


@on_every_cell
def test_uniform_matrices_are_those_that_are_drawn_and_within_one_over_the_root(start, name):
    plain, half = start(name, recurrent_init="uniform"), start(name, recurrent_init="uniform", recurrent_scale=0.5)
    for layer, other in zip(plain, half, strict=True):
        for drawn, scaled in zip(layer.gate_matrices(), other.gate_matrices(), strict=True):
            assert scaled.equal(0.5 * drawn)
            assert 0.5 * len(drawn) ** -0.5 < drawn.abs().max() <= len(drawn) ** -0.5


@on_every_cell
def test_what_is_not_given_is_as_it_is_drawn(start, name):
    given = {"recurrent_init": "identity" if name == "irnn" else "uniform", "recurrent_scale": 1.0}
    for layer, other in zip(start(name), start(name, **given), strict=True):
        assert all(map(torch.equal, layer.parameters(), other.parameters()))


@on_every_cell
def test_nothing_but_these_matrices_depends_on_their_start(start, name):
    layers, others = start(name, recurrent_init="uniform"), start(name, recurrent_init="identity")
    for layer, other in zip(layers, others, strict=True):
        with torch.no_grad():
            for matrix in (*layer.gate_matrices(), *other.gate_matrices()):
                matrix.zero_()
        assert all(map(torch.equal, layer.parameters(), other.parameters()))


def test_the_options_need_such_matrices():
    for name in CELLS.keys() - set(WITH_MATRICES):
        for options in ({"recurrent_init": "identity"}, {"recurrent_scale": 0.5}):
            with pytest.raises(ConfigError, match=r"--recurrent-\w+ needs --cell rnn, irnn, .*does not have it"):
                ModelConfig(cell=name, **options)


@pytest.mark.parametrize("name", ["irnn", "lstm", "mingru"])
def test_a_nonlinearity_is_chosen_for_the_plain_network_alone(name):
    with pytest.raises(ConfigError, match=f"--nonlinearity needs --cell rnn: {name} does not have it"):
        ModelConfig(cell=name, nonlinearity="relu")
