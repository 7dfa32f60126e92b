"""The mean of the weights: what it is, when it begins, and what is measured."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lmkit.config import Config, ModelConfig, TrainingConfig
from lmkit.errors import ConfigError
from lmkit.model.language_model import LanguageModel
from lmkit.training.average import Average, make_average
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord


def flat(model: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def trained(training: Any, validate: Any = None) -> list[Tensor]:
    """The weights after each step, in float64, those of the start first."""
    model = training.train.model.double()
    weights = [flat(model)]
    weights += [flat(model) for record in training.run(validate) if isinstance(record, StepRecord)]
    return weights


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_an_exponential_mean_has_factors_that_add_up_to_one(make_training, steps: int):
    training = make_training(average="ema", average_decay=0.8, max_steps=steps, epochs=None)
    _, *weights = trained(training)
    factors = [0.2 * 0.8 ** (steps - number) / (1 - 0.8**steps) for number in range(1, steps + 1)]
    assert sum(factors) == pytest.approx(1)
    expected = sum(factor * one for factor, one in zip(factors, weights, strict=True))
    torch.testing.assert_close(flat(training.train.measured), expected, rtol=1e-12, atol=1e-12)


def test_a_stochastic_mean_is_of_all_weights_from_its_share_of_the_training_on(make_training):
    training = make_training(average="swa", average_start=0.45, max_steps=10, epochs=None)
    weights = trained(training)
    average = training.train.average
    assert (average.started_at, int(average.count)) == (5, 6)
    torch.testing.assert_close(flat(average.model), torch.stack(weights[5:]).mean(0), rtol=1e-12, atol=1e-12)


def test_nt_asgd_is_the_mean_of_all_weights_from_the_bad_validation_on(make_training, validations):
    """Merity et al. (2018), algorithm 1: 1 / (k - T + 1) times the sum of the weights from T to k."""
    options = {"average": "nt-asgd", "average_n": 1, "eval_every": 2, "max_steps": 12, "epochs": None}
    training = make_training(**options)
    losses = [5.0, 4.0, 4.5, 6.0, 1.0, 1.0]  # 6 is worse than the best of 5 and 4, after 8 steps
    weights = trained(training, validations(losses))
    average = training.train.average
    assert (average.started_at, int(average.count)) == (8, 5)
    torch.testing.assert_close(flat(average.model), torch.stack(weights[8:]).mean(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "losses", "begins"),
    [
        (2, [5, 4, 3, 2, 3.5, 4.5], 5),  # 3.5 is compared with 5 and 4 only
        (2, [5, 6, 7, 8], 3),  # the first that has more than two before it
        (5, [9, 9, 9, 9, 9, 9.5], None),
        (1, [5, 4, 4, 4], None),  # as good as the best is not worse
        (1, [5, 4, math.nan], 2),
        (1, [math.nan, 4, 5], None),
    ],
)
def test_nt_asgd_begins_where_a_validation_is_worse_than_the_best_of_all_but_the_last(
    make_training, n: int, losses: list[float], begins: int | None
):
    model, average = make_training().train.model, Average("nt-asgd", n=n)
    for step, loss in enumerate(losses):
        average.after_validation(model, step, loss)
        assert (average.model is not None) == (begins is not None and step >= begins)
    assert average.started_at == (begins or 0)


@pytest.mark.parametrize(("kind", "own"), [("ema", {}), ("swa", {"average_start": 0.6}), ("nt-asgd", {"average_n": 1})])
def test_the_training_continues_from_the_weights_and_the_mean_is_measured(
    make_training, validations, kind: str, own: dict[str, Any]
):
    options = {"schedule": "constant", "eval_every": 3, "max_steps": 12, "epochs": None, "lr": 0.5}
    losses = [3.0, 4.0, 5.0, 6.0]
    plain = make_training(**options)
    expected = list(plain.run(validations(losses)))
    training = make_training(average=kind, **own, **options)
    train, measured = training.train, []
    coming = validations(losses)

    def validate() -> Any:
        measured.append(flat(train.measured))
        return coming()

    records = list(training.run(validate))
    assert [one for one in records if isinstance(one, StepRecord)] == [
        one for one in expected if isinstance(one, StepRecord)
    ]
    assert flat(train.model).equal(flat(plain.train.model))
    assert train.measured is train.average.model
    assert not any(one.requires_grad for one in train.measured.parameters())
    averaged = [one.averaged for one in records if isinstance(one, EvaluationRecord)]
    assert averaged == {"ema": [3, 6, 9, 12], "swa": [0, 0, 2, 5], "nt-asgd": [0, 0, 0, 4]}[kind]
    assert not measured[-1].equal(flat(train.model))


def test_the_mean_of_a_bounded_network_is_bounded():
    """The mean of a chain and its transpose, whose radius is zero, is a cycle."""
    model, average = LanguageModel(ModelConfig(cell="irnn", hidden_size=2), 5), Average("swa")
    matrix = model.get_parameter("recurrent.layers.0.weight_hh_l0")
    for number, chain in enumerate(torch.tensor([[[0.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [3.0, 0.0]]])):
        with torch.no_grad():
            matrix.copy_(chain)
        average._begin(model, 1) if number == 0 else average.add(model, torch.tensor(False))
    assert average.model is not None
    mean = average.model.get_parameter("recurrent.layers.0.weight_hh_l0")
    assert torch.linalg.eigvals(mean).abs().max() < 1


def test_a_step_that_the_scale_of_float16_skips_is_not_in_the_mean(make_training):
    training = make_training(average="ema", max_steps=3, epochs=None)
    training.train.scaler = torch.amp.GradScaler("cpu")
    training.train.model.head.bias.register_hook(lambda gradient: gradient * math.inf)
    before = flat(training.train.model)
    list(training.run())
    assert flat(training.train.model).equal(before)
    assert int(training.train.average.count) == 1


def test_a_tied_network_with_clusters_has_a_mean_that_is_whole(make_training):
    options = {"tie_embeddings": True, "head": "adaptive", "cutoffs": (3, 7), "average": "ema"}
    training = make_training(**options)
    list(training.run())
    model, mean = training.train.model, training.train.measured
    assert mean.head.tied is mean.embedding.weight
    assert mean.head.tied is not model.embedding.weight
    before = flat(model)
    mean.load_state_dict({name: torch.zeros_like(one) for name, one in mean.state_dict().items()}, strict=False)
    assert flat(model).equal(before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"average": "nt-asgd"}, "--optimizer sgd"),
        ({"average": "nt-asgd", "optimizer": "sgd", "schedule": "plateau"}, "no other --schedule"),
        ({"average": "swa", "average_decay": 0.9}, "--average-decay needs --average ema: swa does not have it"),
        ({"average_n": 3}, "--average-n needs --average nt-asgd: none does not have it"),
        ({"average": "ema", "average_decay": 1.0}, "--average-decay must be below 1"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        Config().override(options)


def test_defaults_are_those_of_the_papers():
    assert make_average(TrainingConfig()) is None
    config = TrainingConfig(optimizer="sgd", average="nt-asgd")
    assert (config.schedule_name, config.average_options) == ("constant", {"average_n": 5})
    assert TrainingConfig(average="ema").schedule_name == "cosine"
