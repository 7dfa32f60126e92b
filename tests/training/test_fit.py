"""The loop: every window, stops exactly, validations in their places, rates that are used."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from lmkit.errors import NonFiniteError
from lmkit.evaluation.perplexity import Evaluation
from lmkit.training.loop import EvaluationRecord, progress_of
from lmkit.training.optimizers import learning_rate
from lmkit.training.step import StepRecord


def steps(records):
    return [record for record in records if isinstance(record, StepRecord)]


def evaluations(records):
    return [record for record in records if isinstance(record, EvaluationRecord)]


def same_value():
    return Evaluation(nll=20.0, tokens=10)


SAMPLERS = [
    {"sampler": "sequential"},
    {"sampler": "sequential", "state": "reset"},
    {"sampler": "random"},
    {"sampler": "document"},
]


@pytest.mark.parametrize("options", SAMPLERS)
@pytest.mark.parametrize("epochs", [1, 3])
def test_every_window_of_every_epoch_is_visited_once(make_training, options, epochs):
    training = make_training(epochs=epochs, lr=0.1, **options)
    records = list(training.run())
    lengths = [training.sampler.num_windows(epoch) for epoch in range(epochs)]
    assert [record.epoch for record in records] == [epoch for epoch in range(epochs) for _ in range(lengths[epoch])]
    assert [record.step for record in records] == list(range(1, sum(lengths) + 1))
    for epoch in range(epochs):
        counted = [record.tokens for record in records if record.epoch == epoch]
        assert counted == [int((w.targets >= 0).sum()) for w in training.sampler.epoch(epoch)]
        assert sum(counted) == 200
    assert (training.train.step, training.train.tokens) == (sum(lengths), 200 * epochs)
    assert progress_of(training.train, training.sampler, training.config) == 1


@pytest.mark.parametrize("max_steps", [1, 5, 7, 8, 9, 20])
def test_training_stops_exactly_at_max_steps(make_training, max_steps):
    training = make_training(epochs=None, max_steps=max_steps, lr=0.1)
    assert len(list(training.run())) == max_steps == training.train.step
    assert progress_of(training.train, training.sampler, training.config) == 1


def test_the_nearer_of_epochs_and_steps_ends_the_training(make_training):
    per_epoch = make_training().sampler.num_windows(0)
    assert len(list(make_training(epochs=1, max_steps=100).run())) == per_epoch
    assert len(list(make_training(epochs=9, max_steps=4).run())) == 4


def test_a_finished_training_does_nothing_more(make_training):
    training = make_training(epochs=1)
    list(training.run(same_value))
    assert list(training.run(same_value)) == []
    training = make_training(epochs=None, max_steps=3)
    list(training.run())
    assert list(training.run()) == []


def test_progress_rises_from_zero_to_one(make_training):
    training = make_training(epochs=2, max_steps=1000)
    values = [progress_of(training.train, training.sampler, training.config)]
    values += [progress_of(training.train, training.sampler, training.config) for _ in training.run()]
    assert values[0] == 0
    assert values[-1] == 1
    assert all(later > earlier for earlier, later in pairwise(values))


def test_each_epoch_begins_from_a_state_of_zero(make_training):
    training, other = make_training(epochs=2, lr=1e-30), make_training(epochs=2, lr=1e-30, seed=1)
    losses = [record.nll for record in training.run()]
    expected = []
    for epoch in range(2):
        state = other.train.model.initial_state(4)
        for window in other.sampler.epoch(epoch):
            nll, state = other.train.model.nll_sum(window.inputs, window.targets, state)
            expected.append(nll.item())
    assert losses == pytest.approx(expected, rel=1e-5)


def test_losses_are_weighted_by_the_mean_targets_of_a_window(make_training):
    training = make_training(epochs=1, max_grad_norm=0)
    windows = list(training.sampler.epoch(0))
    records = []
    before = torch.cat([p.detach().flatten() for p in training.train.model.parameters()])
    run = training.run()
    records.append(next(run))
    after = torch.cat([p.detach().flatten() for p in training.train.model.parameters()])
    reference = make_training().train.model
    nll, _ = reference.nll_sum(windows[0].inputs, windows[0].targets, reference.initial_state(4))
    gradients = torch.autograd.grad(nll / (200 / len(windows)), list(reference.parameters()))
    expected = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(before - after, records[0].lr * expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({"epochs": None, "max_steps": 10, "eval_every": 3}, [3, 6, 9, 10]),
        ({"epochs": None, "max_steps": 9, "eval_every": 3}, [3, 6, 9]),
        ({"epochs": None, "max_steps": 4, "eval_every": 100}, [4]),
        ({"epochs": None, "max_steps": 3, "eval_every": 1}, [1, 2, 3]),
    ],
)
def test_validation_comes_every_so_many_steps_and_once_at_the_end(make_training, options, places):
    records = list(make_training(lr=0.1, **options).run(same_value))
    assert [record.step for record in evaluations(records)] == places
    assert isinstance(records[-1], EvaluationRecord)
    for place, record in enumerate(records):  # it follows its step at once
        if isinstance(record, EvaluationRecord):
            assert records[place - 1].step == record.step
            assert isinstance(records[place - 1], StepRecord)


def test_validation_comes_after_each_epoch_without_eval_every(make_training):
    training = make_training(epochs=3, lr=0.1)
    records = list(training.run(same_value))
    ends = np.cumsum([training.sampler.num_windows(epoch) for epoch in range(3)]).tolist()
    assert [record.step for record in evaluations(records)] == ends
    training = make_training(epochs=None, max_steps=ends[0] + 2, lr=0.1)
    assert [record.step for record in evaluations(training.run(same_value))] == [ends[0], ends[0] + 2]


def test_validation_sees_the_model_after_the_step_and_its_numbers_are_told(make_training):
    training = make_training(epochs=None, max_steps=4, eval_every=2, lr=0.1)
    seen = []

    def validate():
        seen.append(training.train.step)
        return Evaluation(nll=5.0 - training.train.step, tokens=2)

    found = evaluations(training.run(validate))
    assert seen == [2, 4]
    assert [record.evaluation.nll for record in found] == [3, 1]
    assert [record.tokens for record in found] == [
        sum(record.tokens for record in steps(make_training(epochs=None, max_steps=count, lr=0.1).run()))
        for count in (2, 4)
    ]


def test_the_best_so_far_is_marked(make_training, validations):
    training = make_training(epochs=None, max_steps=6, eval_every=1, lr=0.1)
    found = evaluations(training.run(validations([3, 2, 2.5, 2, 1, math.nan])))
    assert [record.is_best for record in found] == [True, True, False, False, True, False]
    assert (training.train.validations.best, training.train.validations.best_step) == (1, 5)


def test_patience_stops_after_so_many_validations_without_a_new_best(make_training, validations):
    training = make_training(epochs=None, max_steps=100, eval_every=2, patience=2, lr=0.1)
    records = list(training.run(validations([3, 2, 2.5, 1.9, 1.95, 2.0, 9, 9, 9])))
    assert [record.evaluation.nats_per_token for record in evaluations(records)] == [3, 2, 2.5, 1.9, 1.95, 2.0]
    assert training.train.step == 12
    assert list(training.run(validations([0, 0, 0]))) == []


def test_without_patience_bad_validations_stop_nothing(make_training, validations):
    training = make_training(epochs=None, max_steps=20, eval_every=1, lr=0.1)
    assert len(evaluations(training.run(validations(range(20))))) == 20


def parameters(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def moves(training, validate):
    """Each step's record, and how far the parameters went."""
    before = parameters(training.train.model)
    for record in training.run(validate):
        if isinstance(record, StepRecord):
            after = parameters(training.train.model)
            yield record, (after - before).norm().item()
            before = after


def test_plateau_annealing_divides_only_after_a_worse_validation_and_sgd_uses_it(make_training, validations):
    training = make_training(epochs=None, max_steps=10, eval_every=2, lr=0.8, max_grad_norm=0.05, lr_decay=4)
    found = list(moves(training, validations([3, 2, 2.5, 1.9, 2.0])))
    assert [record.lr for record, _ in found] == [0.8] * 6 + [0.2] * 4
    for record, moved in found:
        assert moved == pytest.approx(record.lr * min(record.grad_norm, 0.05), rel=1e-2)
    assert training.train.validations.factor == 1 / 16


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_other_schedules_know_no_annealing(make_training, validations, schedule):
    rates = []
    for values in ([5, 4, 3, 2, 1], [1, 2, 3, 4, 5]):
        training = make_training(epochs=None, max_steps=5, eval_every=1, schedule=schedule, lr=0.5)
        rates.append([record.lr for record in steps(training.run(validations(values)))])
    assert rates[0] == rates[1]
    assert (rates[0] == [0.5] * 5) == (schedule == "constant")


def test_cosine_rates_are_a_function_of_progress_and_sgd_uses_them(make_training):
    training = make_training(epochs=None, max_steps=20, schedule="cosine", warmup=0.25, lr=0.8, max_grad_norm=0.01)
    found = list(moves(training, None))
    rates = [record.lr for record, _ in found]
    for number, rate in enumerate(rates):
        # of the progress at the step's beginning, at its end, or between the two
        between = [learning_rate(training.config, (number + part / 10) / 20) for part in range(11)]
        assert min(between) - 1e-12 <= rate <= max(between) + 1e-12
    assert all(rate > 0 for rate in rates[:-1])
    for record, moved in found:
        assert moved == pytest.approx(record.lr * min(record.grad_norm, 0.01), rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_rate_stands_in_the_optimiser(make_training, optimizer):
    training = make_training(epochs=None, max_steps=10, schedule="cosine", optimizer=optimizer, lr=0.01)
    for record in training.run():
        assert {group["lr"] for group in training.train.optimizer.param_groups} == {record.lr}


def test_a_loss_that_is_not_finite_ends_the_loop_with_the_state_whole(make_training):
    training = make_training(epochs=2, lr=0.1)
    run = training.run()
    next(run)
    before = training.train.step
    with torch.no_grad():
        training.train.model.head.bias[0] = math.inf
    with pytest.raises(NonFiniteError):
        next(run)
    assert training.train.step == before
