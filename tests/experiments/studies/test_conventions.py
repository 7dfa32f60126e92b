"""The rules of the experiments on additions, windows and indices, on outcomes that nobody has measured, and what they
measure with.
"""

from __future__ import annotations

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.experiments.studies.memory.addition import Addition, shares_of
from lmkit.experiments.studies.text.index import Index, read_before, read_by_kernel, read_own_step
from lmkit.experiments.studies.truncation.windows import COSTS, RADII, Windows, gradients
from lmkit.experiments.tools.shares import two_way_shares
from lmkit.model.language_model import LanguageModel


def spread(value: float, by: float = 1e-4) -> list[float]:
    """Five values that differ hardly."""
    return [value + by * seed for seed in range(-2, 3)]


def network(cell: str) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(ModelConfig(cell=cell, hidden_size=5, dropout=0.0), 7).double().eval()


def test_a_sum_has_nothing_of_the_two_together_and_a_product_nothing_of_either():
    first, second = torch.randn(6, 1, 3).double(), torch.randn(1, 4, 3).double()
    alone = two_way_shares(first + second)
    variances = [one.var(dim=side, correction=0).sum().item() for one, side in ((first, 0), (second, 1))]
    assert alone.first == pytest.approx(variances[0] / sum(variances))
    assert alone.together == pytest.approx(0.0, abs=1e-12)
    centred = (first - first.mean(0)) * (second - second.mean(1))
    assert tuple(two_way_shares(centred)) == pytest.approx((0.0, 0.0, 1.0), abs=1e-12)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_state_is_a_sum_only_before_the_nonlinearity(cell: str):
    model = network(cell)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # far from where tanh is a line
    found = shares_of(model, torch.randint(7, (6, 5)), torch.arange(4))
    assert found["h_first"] + found["h_second"] + found["h_together"] == pytest.approx(1.0)
    assert found["h_together"] > 1e-3
    if cell == "rnn":
        assert found["preactivation_together"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("together", "word"),
    [
        ({"rnn": 0.01, "gru": 0.01, "lstm": 0.02}, "holds"),
        ({"rnn": 0.2, "gru": 0.01, "lstm": 0.2}, "partly"),
        ({"rnn": 0.2, "gru": 0.3, "lstm": 0.2}, "refuted"),
    ],
)
def test_an_addition_is_judged_by_what_is_no_sum(invent, together, word):
    names = [f"{name}_{part}" for name in ("preactivation", "c") for part in ("first", "second", "together")]

    def values(arm: str) -> list[dict[str, float]]:
        return [{**dict.fromkeys(names, 0.0), "h_together": one} for one in spread(together[arm])]

    (verdict,) = Addition().judge(invent(Addition(), values))
    assert verdict.word == word


def test_the_gradient_of_a_window_is_that_of_its_mean_loss():
    model = network("rnn")
    tokens = torch.randint(7, (3, 9))
    found = gradients(model, tokens, (2, 4, 8))
    logits, _ = model(tokens[:, :4], model.initial_state(3))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:5].flatten()).backward()
    gradient = model.cells[0].get_parameter(model.cells[0].recurrent_matrices[0]).grad
    assert gradient is not None
    assert 10 ** found["logarithms"][1] == pytest.approx(gradient.norm().item())
    assert found["growth"] == pytest.approx(found["logarithms"][2] - found["logarithms"][1])


@pytest.mark.parametrize(
    ("growth", "memory", "seconds", "word"),
    [
        ({0.5: 0.0, 0.9: 0.0, 1.1: 0.0, 1.5: 9.0}, 1.0, 1.0, "refuted"),
        ({0.5: 0.0, 0.9: 0.0, 1.1: 0.0, 1.5: 9.0}, 16.0, 1.0, "partly"),
        ({0.5: 3.0, 0.9: 3.0, 1.1: 3.0, 1.5: 9.0}, 16.0, 2.0, "holds"),
    ],
)
def test_windows_are_judged_by_gradients_below_one_and_by_costs(invent, growth, memory, seconds, word):
    def values(arm: str) -> list[dict[str, float]]:
        if arm.startswith("cost"):
            return [{"memory_growth": memory, "growth_of_seconds": one} for one in spread(seconds)]
        return [{"growth": one} for one in spread(growth[float(arm.split()[-1])])]

    assert set(growth) == set(RADII)
    assert {arm.name for arm in Windows().arms(invent(Windows(), values).scale)} >= {f"cost, {cell}" for cell in COSTS}
    (verdict,) = Windows().judge(invent(Windows(), values))
    assert verdict.word == word


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_both_ways_to_number_read_the_probabilities_of_the_network(cell: str):
    model, ids = network(cell), torch.randint(7, (12,))
    with torch.inference_mode():
        logits, _ = model(ids[None, :-1], model.initial_state(1))
    expected = logits[0].log_softmax(-1)[torch.arange(11), ids[1:]]
    for found in (read_before(model, ids), read_own_step(model, ids), read_by_kernel(model, ids)):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("difference", "word"), [(1e-15, "holds"), (1e-3, "refuted")])
def test_the_ways_to_number_are_judged_by_their_largest_difference(invent, difference, word):
    keys = ("difference", "test", "as_language_model")

    def values(arm: str) -> list[dict[str, float]]:
        return [{**dict.fromkeys(keys, 0.0), "difference_from_lmkit": one} for one in (0.0, difference)]

    (verdict,) = Index().judge(invent(Index(), values))
    assert verdict.word == word
