"""Optimisers, and learning rates as functions of progress."""

import math

import pytest
import torch
from torch.optim import SGD, AdamW

from lmkit.config import TrainingConfig
from lmkit.training.optimizers import learning_rate, make_optimizer
from lmkit.training.state import ValidationHistory


def schedule(name, **options):
    return TrainingConfig(**{"schedule": name, "lr": 2.0, **options})


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_a_constant_rate_is_constant(progress):
    assert learning_rate(schedule("constant"), progress) == 2
    assert learning_rate(schedule("constant"), progress, annealing=0.25) == 2


@pytest.mark.parametrize(("annealing", "rate"), [(1.0, 2.0), (0.25, 0.5), (0.0625, 0.125)])
def test_a_plateau_rate_is_divided_by_what_validation_found(annealing, rate):
    assert learning_rate(schedule("plateau"), 0.7, annealing) == rate


@pytest.mark.parametrize(
    ("progress", "rate"),
    [(0.05, 1.0), (0.1, 2.0), (0.325, 1 + math.sqrt(0.5)), (0.55, 1.0), (0.775, 1 - math.sqrt(0.5)), (1.0, 0.0)],
)
def test_a_cosine_rate_rises_linearly_and_falls_along_half_a_cosine(progress, rate):
    assert learning_rate(schedule("cosine", warmup=0.1), progress) == pytest.approx(rate, abs=1e-12)


def test_a_cosine_rate_is_never_negative_nor_above_the_top():
    for warmup in (0.0, 0.02, 0.5):
        rates = [learning_rate(schedule("cosine", warmup=warmup), number / 1000) for number in range(1001)]
        assert min(rates) >= 0
        assert max(rates) == pytest.approx(2, rel=1e-4)
        top = rates.index(max(rates))
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[top:] == sorted(rates[top:], reverse=True)


def test_without_warmup_a_cosine_begins_at_the_top():
    assert learning_rate(schedule("cosine", warmup=0.0), 0.0) == 2


def test_progress_beyond_the_end_gives_no_negative_rate():
    assert 0 <= learning_rate(schedule("cosine"), 1.0 + 1e-9) < 1e-6


def test_schedules_follow_the_optimiser_unless_named():
    assert TrainingConfig(optimizer="adamw").schedule_name == "cosine"
    assert TrainingConfig(optimizer="sgd").schedule_name == "plateau"
    assert TrainingConfig(optimizer="sgd", schedule="constant").schedule_name == "constant"


def test_annealing_divides_only_where_validation_is_not_better():
    history = ValidationHistory()
    factors, best = [], []
    for step, value in enumerate([3.0, 2.0, 2.5, 2.0, 1.9, 1.95]):
        best.append(history.update(value, step, 4.0))
        factors.append(history.factor)
    assert best == [True, True, False, False, True, False]
    assert factors == [1, 1, 1 / 4, 1 / 16, 1 / 16, 1 / 64]
    assert (history.best, history.best_step) == (1.9, 4)


def test_a_validation_that_is_no_number_is_not_the_best():
    history = ValidationHistory()
    history.update(3.0, 1, 4.0)
    assert not history.update(math.nan, 2, 4.0)
    assert history.best == 3
    assert history.update(2.0, 3, 4.0)


def test_bad_validations_are_counted_from_the_last_best():
    history = ValidationHistory()
    counts = []
    for step, value in enumerate([3.0, 3.5, 3.2, 2.0, 2.1]):
        history.update(value, step, 4.0)
        counts.append(history.bad_validations)
    assert counts == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adamw", AdamW)])
def test_weight_decay_falls_on_matrices_alone(make_training, name, kind):
    model = make_training().train.model
    optimizer = make_optimizer(model, TrainingConfig(optimizer=name, lr=0.1, weight_decay=0.5))
    assert type(optimizer) is kind
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in model.named_parameters():
        expected = before[key] * (1 - 0.1 * 0.5) if parameter.dim() > 1 else before[key]
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("options", [{}, {"tie_embeddings": True}, {"head": "adaptive", "cutoffs": (3, 6)}])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_parameter_is_trained_once(make_training, options, optimizer):
    train = make_training(optimizer=optimizer, **options).train
    trained = [id(parameter) for group in train.optimizer.param_groups for parameter in group["params"]]
    assert sorted(trained) == sorted(id(parameter) for parameter in train.model.parameters())
