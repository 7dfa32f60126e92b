"""The rectified network: bounded unless it is the paper's, whatever training does to it."""

import pytest
import torch

from lmkit.model.cells.irnn import RADIUS, bound_positive_part, perron_bound


def radius(matrix):
    """The spectral radius of the positive part, from all eigenvalues."""
    return torch.linalg.eigvals(matrix.clamp_min(0)).abs().max().item()


def random_matrix(size, scale=1.0):
    return scale * torch.randn(size, size, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_the_bound_of_a_radius_is_above_it_and_close(size):
    matrix = random_matrix(size).abs()
    bound, vector = perron_bound(matrix)
    assert (vector > 0).all()
    assert radius(matrix) <= bound.item() * (1 + 1e-12)
    assert bound.item() < 1.02 * radius(matrix)


SPECIAL = {
    "zero": torch.zeros(5, 5),
    "identity": torch.eye(5),
    "twice the identity": 2 * torch.eye(5),
    "a cycle": 3 * torch.eye(5).roll(1, 0),
    "a chain": 3 * torch.ones(5, 5).triu(1),
    "negative": -torch.ones(5, 5),
    "one row": torch.ones(5, 5) * torch.tensor([4.0, 0, 0, 0, 0])[:, None],
}


@pytest.mark.parametrize("matrix", SPECIAL.values(), ids=SPECIAL)
def test_special_matrices_are_bounded_too(matrix):
    held = matrix.clone()
    bound_positive_part(held, 0.9)
    assert radius(held) <= 0.9
    assert torch.isfinite(held).all()


@pytest.mark.parametrize("scale", [0.01, 0.2, 3.0, 100.0])
def test_only_positive_entries_are_lowered_and_what_is_within_the_bound_stays(scale):
    matrix = random_matrix(20, scale).float()
    held = matrix.clone()
    bound_positive_part(held, 0.9)
    assert radius(held) <= 0.9 * (1 + 1e-5)
    assert held[matrix <= 0].equal(matrix[matrix <= 0])
    assert (held <= matrix).all()
    assert (held[matrix > 0] >= 0).all()
    assert held.equal(matrix) == (radius(matrix) < 0.8)  # none of the four is in between
    again = held.clone()
    bound_positive_part(again, 0.9)
    assert again.equal(held)


@torch.no_grad()
def test_a_state_stays_within_what_the_bound_promises(make_model):
    """Every unit stays below the solution of h = max(0, U) h + a, with a the largest additions of any token."""
    model = make_model("irnn", hidden_size=8, spread=2.0).double()
    model.constrain()
    (cell,) = model.cells
    tokens = torch.randint(12, (1, 3000))
    additions = (cell.project(model.embedding.weight) + cell.bias_hh_l0).clamp_min(0).amax(0)
    most = torch.linalg.solve(torch.eye(8, dtype=torch.float64) - cell.weight_hh_l0.clamp_min(0), additions)
    hidden, _ = model.features(tokens, model.initial_state(1))
    assert (hidden <= most * (1 + 1e-9)).all()
    cell.weight_hh_l0.mul_(4)  # without the bound the same network leaves all numbers
    hidden, _ = model.features(tokens, model.initial_state(1))
    assert not torch.isfinite(hidden).all() or hidden.max() > 1e6 * most.max()


@pytest.mark.parametrize(
    ("options", "expected"), [({}, 0.1), ({"recurrent_scale": 0.5}, 0.5), ({"recurrent_scale": 3.0}, RADIUS)]
)
def test_it_starts_as_a_multiple_of_the_identity_that_is_within_the_bound(make_model, options, expected):
    for layer in make_model("irnn", num_layers=2, spread=None, **options).cells:
        torch.testing.assert_close(layer.weight_hh_l0.detach(), expected * torch.eye(6), rtol=2e-4, atol=0)
        assert not layer.bias_ih_l0.any()
        assert not layer.bias_hh_l0.any()
        assert 0.5 * 6**-0.5 < layer.weight_ih_l0.abs().max() <= 6**-0.5
