"""Optimisers, and learning rates as functions of progress."""

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from lmkit.config import TrainingConfig
from lmkit.training.mismatch import Mismatch
from lmkit.training.optimizers import can_run_ahead, learning_rate, make_optimizer, num_moments
from lmkit.training.state import ValidationHistory
from lmkit.training.step import Update

RATE, DECAY = 0.1, 0.3


def schedule(name, **options):
    return TrainingConfig(**{"schedule": name, "lr": 2.0, **options})


def test_the_rate_falls_with_each_epoch_after_those_at_the_full_rate():
    config = schedule("epochs", lr_decay=2.0, decay_after=3)
    assert [learning_rate(config, 0.5, 0.25, epoch) for epoch in range(6)] == [2, 2, 2, 1, 0.5, 0.25]
    assert learning_rate(schedule("epochs", lr_decay=2.0), 0.5, 1.0, 1) == 1


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
        best.append(history.update(value, (value,), step, 4.0))
        factors.append(history.factor)
    assert best == [True, True, False, False, True, False]
    assert factors == [1, 1, 1 / 4, 1 / 16, 1 / 16, 1 / 64]
    assert (history.best, history.best_step) == (1.9, 4)


def test_a_validation_that_is_no_number_is_not_the_best():
    history = ValidationHistory()
    history.update(3.0, (3.0,), 1, 4.0)
    assert not history.update(math.nan, (math.nan,), 2, 4.0)
    assert history.best == 3
    assert history.update(2.0, (2.0,), 3, 4.0)


def test_bad_validations_are_counted_from_the_last_best():
    history = ValidationHistory()
    counts = []
    for step, value in enumerate([3.0, 3.5, 3.2, 2.0, 2.1]):
        history.update(value, (value,), step, 4.0)
        counts.append(history.bad_validations)
    assert counts == [0, 1, 2, 0, 1]


def test_the_rank_says_what_is_best_and_the_nats_are_those_of_the_best():
    """By errors, then by nats: fewer errors are better whatever their nats, and of equally many the fewer nats."""
    history = ValidationHistory()
    seen = [(5.0, 0.3), (4.0, 0.9), (4.0, 0.8), (4.0, 0.8), (5.0, 0.1), (math.nan, math.nan), (3.0, math.inf)]
    best = [history.update(nats, (errors, nats), step, 4.0) for step, (errors, nats) in enumerate(seen)]
    assert best == [True, True, True, False, False, False, True]
    assert (history.best, history.best_step, history.bad_validations, history.factor) == (math.inf, 6, 0, 1 / 64)


@pytest.mark.parametrize("rank", [(0.5,), (3.0, 0.5)])
def test_a_memory_of_validations_comes_back_and_one_from_before_there_were_ranks_has_its_nats_as_rank(rank):
    history = ValidationHistory()
    history.update(0.5, rank, 7, 4.0)
    assert ("rank" in history.state_dict()) == (len(rank) == 2)
    assert ValidationHistory.of(history.state_dict()) == history


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
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_every_parameter_is_trained_once(make_training, options, optimizer):
    train = make_training(optimizer=optimizer, **options).train
    trained = [id(parameter) for group in train.optimizer.param_groups for parameter in group["params"]]
    assert sorted(trained) == sorted(id(parameter) for parameter in train.model.parameters())


# the equations, by hand: each takes a weight, its gradient and what it has kept, and gives the weight and what to keep


def sgd(w, g, kept, step, momentum):
    buffer = momentum * kept.get("buffer", 0) + g + DECAY * w
    return w - RATE * buffer, {"buffer": buffer}


def adam(w, g, kept, step, betas, eps):
    g = g + DECAY * w
    mean = betas[0] * kept.get("mean", 0) + (1 - betas[0]) * g
    square = betas[1] * kept.get("square", 0) + (1 - betas[1]) * g**2
    move = mean / (1 - betas[0] ** step) / ((square / (1 - betas[1] ** step)).sqrt() + eps)
    return w - RATE * move, {"mean": mean, "square": square}


def adamw(w, g, kept, step, betas, eps):
    return adam(w - RATE * DECAY * w, g - DECAY * (w - RATE * DECAY * w), kept, step, betas, eps)


def rmsprop(w, g, kept, step, momentum, eps):
    g = g + DECAY * w
    square = 0.99 * kept.get("square", 0) + 0.01 * g**2
    buffer = momentum * kept.get("buffer", 0) + g / (square.sqrt() + eps)
    return w - RATE * buffer, {"square": square, "buffer": buffer}


def adagrad(w, g, kept, step, eps):
    g = g + DECAY * w
    total = kept.get("total", 0) + g**2
    return w - RATE * g / (total.sqrt() + eps), {"total": total}


@pytest.mark.parametrize(
    ("equation", "kind", "options", "moments"),
    [
        (sgd, SGD, {"momentum": 0.0}, 0),
        (sgd, SGD, {"momentum": 0.7}, 1),
        (adamw, AdamW, {"betas": (0.8, 0.95), "eps": 1e-3}, 2),
        (adam, Adam, {"betas": (0.8, 0.95), "eps": 1e-3}, 2),
        (rmsprop, RMSprop, {"momentum": 0.0, "eps": 1e-3}, 1),
        (rmsprop, RMSprop, {"momentum": 0.7, "eps": 1e-3}, 2),
        (adagrad, Adagrad, {"eps": 1e-3}, 1),
    ],
)
def test_an_optimiser_is_its_equations(equation, kind, options, moments):
    model = nn.Linear(3, 2, bias=False).double()
    config = TrainingConfig(optimizer=equation.__name__, lr=RATE, weight_decay=DECAY, **options)
    optimizer = make_optimizer(model, config)
    assert type(optimizer) is kind
    kept: dict[str, torch.Tensor] = {}
    expected = model.weight.detach().clone()
    for step in range(1, 5):
        model.weight.grad = torch.randn(2, 3, dtype=torch.float64)
        expected, kept = equation(expected, model.weight.grad.clone(), kept, step, **options)
        optimizer.step()
        torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-12, atol=1e-12)
    (memory,) = optimizer.state_dict()["state"].values() if moments else ({},)
    assert sum(getattr(value, "shape", ()) == model.weight.shape for value in memory.values()) == moments
    assert num_moments(config) == moments


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", SGD), ("adam", Adam), ("adamw", AdamW), ("rmsprop", RMSprop), ("adagrad", Adagrad)]
)
def test_the_defaults_are_those_of_torch_but_for_the_second_beta_of_adamw(name, kind):
    model = nn.Linear(2, 2)
    own = make_optimizer(model, TrainingConfig(optimizer=name)).defaults
    theirs = kind(list(model.parameters())).defaults
    differing = {key for key in theirs if own[key] != theirs[key]} - {"lr", "fused", "weight_decay"}
    assert differing == ({"betas"} if name == "adamw" else set())
    assert own.get("betas", (0.9, 0.99))[0] == 0.9


def test_a_group_may_have_a_rate_in_proportion(make_training):
    training = make_training(lr=0.5)
    matrices, vectors = training.train.optimizer.param_groups
    vectors["lr_ratio"] = 0.25
    next(training.run())
    assert (matrices["lr"], vectors["lr"]) == (0.5, 0.125)


def test_an_optimiser_without_a_fused_kernel_is_read_at_every_step(make_training):
    for options, ahead in (({"optimizer": "adam"}, True), ({"optimizer": "rmsprop"}, False)):
        optimizer = make_training(**options).train.optimizer
        assert can_run_ahead(optimizer) == ahead
        steps = Update.steps_per_reading(torch.device("cuda"), torch.float32, optimizer, None)
        assert (steps > 1) == ahead
        assert Update.steps_per_reading(torch.device("cpu"), torch.float32, optimizer, None) == 1


@pytest.mark.parametrize(("name", "other"), [("adagrad", "rmsprop"), ("adamw", "sgd"), ("sgd", "adam")])
def test_the_memory_of_another_optimiser_is_refused(make_training, name, other):
    momentum = {"momentum": 0.9} if "sgd" in (name, other) else {}
    stored, fresh = (
        make_training(optimizer=one, lr=0.01, **(momentum if one == "sgd" else {})) for one in (name, other)
    )
    next(stored.run())
    with pytest.raises(Mismatch, match="memory of another optimiser"):
        fresh.train.load_state_dict(stored.train.state_dict())
