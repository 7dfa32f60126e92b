"""Probes, and what they read from states."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lmkit.errors import DataError
from lmkit.inspection.memory import memory
from lmkit.inspection.memory.memory import measure_memory, most_frequent, read_states, recall
from lmkit.inspection.memory.probe import fit_probe
from lmkit.inspection.stretches import positions
from tests.inspection.cells import OPTIONS, close

V = 11


def test_a_probe_is_where_its_penalised_loss_has_no_slope():
    vectors, classes = torch.randn(60, 3, dtype=torch.float64) * torch.tensor([1.0, 5, 0.1]), torch.randint(4, (60,))
    probe = fit_probe(vectors, classes, 4, penalty=0.05, iterations=200)
    standard = (vectors - vectors.mean(0)) / vectors.std(0, correction=0)
    weight, bias = probe.weight.clone().requires_grad_(), probe.bias.clone().requires_grad_()
    loss = F.cross_entropy(standard @ weight.T + bias, classes)
    by_weight, by_bias = torch.autograd.grad(loss, [weight, bias])
    close(by_weight, -0.05 * probe.weight, 1e-5)
    close(by_bias, torch.zeros(4), 1e-5)
    close(probe.nats(vectors, classes), loss.detach())
    close(probe.accuracy(vectors, classes), ((standard @ weight.T + bias).argmax(1) == classes).double().mean())


def test_a_token_that_a_state_stores_is_read_back_and_others_are_not():
    ranks = torch.randint(4, (40, 15))
    states = torch.cat([F.one_hot(ranks[:, 3:-2], 4).double(), torch.randn(40, 10, 3).double()], dim=2)
    found = recall(states, ranks, (0, 2, 5), 4)
    assert found.accuracy[1] == 1.0
    assert found.nats[1] < 0.2 < 1.2 < found.nats[[0, 2]].min()
    for control in (found.accuracy[[0, 2]], found.shuffled, found.chance):
        assert (control < 0.5).all()  # one in four, give or take


def test_ranks_go_by_frequency_and_the_rest_is_one():
    assert most_frequent(torch.tensor([[7, 7, 7, 2], [2, 9, 5, 7]]), 2).tolist() == [[0, 0, 0, 1], [1, 2, 2, 0]]


@pytest.mark.parametrize("case", OPTIONS)
def test_states_are_those_that_the_network_passes_on(random_model, case):
    name, options = OPTIONS[case]
    model = random_model(name, V, num_layers=2, **options).double().eval()
    tokens = torch.randint(V, (3, 5))
    found = read_states(model, tokens)
    outputs, state = model.outputs(tokens, model.initial_state(3))
    vectors = [value for layer in state for value in layer if value.dim() == 2 and value.is_floating_point()]
    if "h" not in list(model.cells)[-1].state_names or "block" in options:
        vectors.append(outputs[-1])
    columns = found[:, -1].T.numpy()
    for vector in vectors:
        for unit in vector.T.detach().numpy():
            assert np.isclose(columns, unit, rtol=1e-9, atol=1e-9).all(axis=1).any()


def test_memory_is_measured_with_its_controls(random_model):
    ids = np.random.default_rng(0).integers(2, V, 300)
    model, twin = random_model("gru", V), random_model("rnn", V)
    found = measure_memory(model, twin, ids, eos_id=1, lags=(0, 3), rows=8)
    assert found.num_states == 8 * 32
    assert found.trained.lags == found.untrained.lags == (0, 3)
    assert found.trained.accuracy[0] > found.trained.shuffled[0]
    assert found.to_dict()["untrained"]["accuracy"] == found.untrained.accuracy.tolist()
    with pytest.raises(DataError, match="too few for a probe of 264 steps"):
        measure_memory(model, twin, ids, eos_id=1, lags=(264,))


def test_no_state_is_fitted_to_and_asked_for(random_model, monkeypatch):
    model, found = random_model("gru", V), []

    def spread(*given, **how):
        found.append(positions(*given, **how))
        return found[-1]

    monkeypatch.setattr(memory, "positions", spread)
    measure_memory(model, model, np.arange(500) % V, eos_id=1, lags=(0, 3), rows=100)
    assert len(found[0]) == 1 + (500 - 1 - 35) // 32
    assert np.diff(found[0]).min() >= memory.READ  # each row takes the states after so many tokens before its end
