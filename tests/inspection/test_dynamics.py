"""Exponents and attractors of maps and networks of which they are known."""

import math

import numpy as np
import pytest
import torch

from lmkit.inspection.dynamics.dynamics import constant_dynamics, period_of
from lmkit.inspection.dynamics.lyapunov import largest_exponent
from lmkit.inspection.walk import take_step
from tests.inspection.cells import OPTIONS, close

V = 5


def logistic(rate):
    return lambda state: (rate * state[0] * (1 - state[0]),)


def test_the_logistic_map_has_the_mean_logarithm_of_its_slope_and_at_four_that_of_two():
    start = (torch.tensor([0.3], dtype=torch.float64),)
    exponent, _ = largest_exponent(logistic(4.0), start, steps=1_000, settle=0)
    (x,), logs = start, []
    for _ in range(1_000):
        logs.append(math.log(abs(4 * (1 - 2 * float(x)))))
        (x,) = logistic(4.0)((x,))
    close(exponent.value, np.mean(logs))
    assert abs(exponent.value - math.log(2)) < 5 * exponent.error < 0.3


def test_on_a_cycle_it_is_the_mean_logarithm_over_the_cycle():
    rate = 3.2
    points = [(1 + rate + sign * math.sqrt((rate - 3) * (rate + 1))) / (2 * rate) for sign in (1, -1)]
    exponent, _ = largest_exponent(logistic(rate), (torch.tensor([points[0]], dtype=torch.float64),), steps=100)
    close(exponent.value, np.mean([math.log(abs(rate * (1 - 2 * x))) for x in points]))


def test_a_linear_map_has_the_logarithm_of_its_spectral_radius_whatever_its_norm():
    matrix = torch.tensor([[0.9, 5.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.2]], dtype=torch.float64)
    exponent, _ = largest_exponent(lambda state: (matrix @ state[0],), (torch.ones(3, dtype=torch.float64),), steps=50)
    close(exponent.value, math.log(0.9))


def test_where_a_difference_is_gone_it_is_minus_infinity():
    exponent, _ = largest_exponent(lambda state: (0 * state[0],), (torch.ones(2, dtype=torch.float64),), steps=5)
    assert exponent.value == -math.inf


@pytest.fixture
def one_unit(random_model):
    """h' = tanh(w h + b), with one token's b."""

    def make(w, b):
        model = random_model("rnn", V, hidden_size=1)
        cell = model.cells[0]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            cell.weight_hh_l0.fill_(w)
            cell.bias_ih_l0.fill_(b)
        return model

    return make


@pytest.mark.parametrize(("w", "b", "period"), [(0.5, 0.25, 1), (2.0, 0.25, 1), (-3.0, 0.25, 2)])
def test_one_unit_settles_to_a_point_or_a_cycle_whose_exponent_is_that_of_its_slope(one_unit, w, b, period):
    found = constant_dynamics(one_unit(w, b), 0, transient=200, steps=200)
    assert found.period == period
    assert found.kind == ("fixed point" if period == 1 else "cycle")
    h, slopes = found.trajectory[-1, 0], []
    for _ in range(period):
        h = math.tanh(w * h + b)
        slopes.append(math.log(abs(w * (1 - h * h))))
    close(h, found.trajectory[-1, 0])
    close(found.exponent, np.mean(slopes))


def test_a_linear_network_has_the_logarithm_of_its_spectral_radius(random_model):
    model = random_model("rnn", V, nonlinearity="relu")
    matrix = model.cells[0].weight_hh_l0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
        matrix.mul_(0.9 / np.abs(np.linalg.eigvals(matrix.numpy())).max())
    found = constant_dynamics(model, 0, transient=250, steps=300)
    assert found.kind == "fixed point"
    close(found.exponent, math.log(np.abs(np.linalg.eigvals(matrix.detach().double().numpy())).max()))


def test_a_slow_approach_is_settling_and_a_turn_that_never_repeats_is_unsettled(random_model):
    """Rotations by an angle that is no part of the circle; with and without a loss in length."""
    model = random_model("rnn", V, hidden_size=2, nonlinearity="relu")
    cell = model.cells[0]
    kinds = []
    for length in (0.99, 1.0):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            turn = torch.tensor([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]])
            cell.weight_hh_l0.copy_(length * turn)
            centre = torch.full((2,), 9.0)  # around which all sums are positive, where the rectifier is linear
            cell.bias_ih_l0.copy_(centre - length * turn @ centre)
        start = (((centre + torch.tensor([0.5, 0.0]))[None],),)
        kinds.append(constant_dynamics(model, 0, state=start, transient=0, steps=200).kind)
    assert kinds == ["settling", "unsettled"]


def test_strong_random_couplings_are_chaos_and_weak_ones_are_not(random_model):
    """Sompolinsky, Crisanti & Sommers (1988): the border is at a gain of one."""
    model = random_model("rnn", V, hidden_size=40)
    matrix = model.cells[0].weight_hh_l0
    kinds = []
    for gain in (0.5, 4.0):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            matrix.normal_(generator=torch.Generator().manual_seed(1), std=gain / math.sqrt(40))
        start = ((torch.ones(1, 40),),)
        kinds.append(constant_dynamics(model, 0, state=start, transient=100, steps=200).kind)
    assert kinds == ["fixed point", "chaos"]


@pytest.mark.parametrize("case", OPTIONS)
def test_of_any_cell_a_difference_grows_as_its_jacobians_say(random_model, case):
    name, options = OPTIONS[case]
    wide = random_model(name, V, num_layers=2, hidden_size=6, **options).double().eval()
    state = wide.features(torch.randint(V, (1, 6)), wide.initial_state(1))[1]
    flat = tuple(value.detach() for layer in state for value in layer)
    sizes = [len(layer) for layer in state]
    embedded = wide.embedding(torch.tensor([2])).detach()

    def step(flat):
        tensors = iter(flat)
        after = take_step(wide, embedded, tuple(tuple(next(tensors) for _ in range(size)) for size in sizes)).state
        return tuple(value for layer in after for value in layer)

    found, last = largest_exponent(step, flat, steps=2, settle=0, seed=3)
    generator = torch.Generator().manual_seed(3)
    moving = [value.is_floating_point() for value in flat]
    tangent = torch.cat(
        [
            torch.randn(value.shape, generator=generator, dtype=torch.float64).flatten()
            for value in flat
            if value.is_floating_point()
        ]
    )
    lengths = [tangent.norm()]
    for _ in range(2):
        floats = tuple(value for value, moves in zip(flat, moving, strict=True) if moves)

        def moved(*values, flat=flat):
            mine = iter(values)
            after = step(tuple(next(mine) if moves else value for value, moves in zip(flat, moving, strict=True)))
            return torch.cat([value.flatten() for value, moves in zip(after, moving, strict=True) if moves])

        parts = torch.autograd.functional.jacobian(moved, floats)
        tangent = torch.cat([part.flatten(1) for part in parts], dim=1) @ tangent
        lengths.append(tangent.norm())
        flat = step(flat)
    close(found.value, math.log(lengths[-1] / lengths[0]) / 2, 1e-8)
    for one, other in zip(last, flat, strict=True):
        close(one, other)


@pytest.mark.parametrize("case", ["lstm", "transformer", "gru, attention"])
def test_the_state_of_a_whole_network_is_watched(random_model, case):
    name, options = OPTIONS[case]
    model = random_model(name, V, num_layers=2, **options)
    before = [parameter.clone() for parameter in model.parameters()]
    shares: list[float] = []
    found = constant_dynamics(model, 3, transient=100, steps=30, report=shares.append)
    assert found.kind in ("fixed point", "settling")
    assert found.trajectory.shape == (256, 8)
    assert 0 < max(shares) <= 1
    assert all(one.equal(other) for one, other in zip(before, model.parameters(), strict=True))
    assert next(model.parameters()).dtype == torch.float32


def test_the_period_is_the_smallest_repeat_of_the_last_states():
    phases = torch.arange(40, dtype=torch.float64)
    assert period_of(torch.stack([torch.sin(2 * torch.pi * phases / 6)], 1)) == 6
    assert period_of(torch.ones(40, 3, dtype=torch.float64)) == 1
    assert period_of(torch.stack([torch.sin(phases)], 1)) is None
    assert period_of(phases[:, None]) is None


def test_a_state_that_is_given_is_where_it_begins(one_unit):
    """Two attractors: each start leads to the one on its side."""
    model = one_unit(3.0, 0.0)
    ends = [
        constant_dynamics(model, 0, state=((torch.full((1, 1), sign),),), transient=50, steps=20).trajectory[-1, 0]
        for sign in (0.1, -0.1)
    ]
    close(ends[0], -ends[1])
    assert ends[0] > 0.9
