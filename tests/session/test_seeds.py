"""The seed of the weights and that of the data are one seed, unless they are told apart."""

from __future__ import annotations

from typing import Any

import torch

from lmkit.config import Config
from lmkit.session.placement import Placement
from lmkit.session.setup import TrainingSetup, prepare

SMALL: dict[str, Any] = {"corpus": "markov:2000", "hidden_size": 4, "batch_size": 4, "window": 8, "sampler": "random"}


def setup(**options: Any) -> TrainingSetup:
    config = Config().override({**SMALL, "device": "cpu", "precision": "float32", **options})
    return prepare(config, Placement(torch.device("cpu"), torch.float32, 1))


def same_weights(one: TrainingSetup, other: TrainingSetup) -> bool:
    states = one.train.model.state_dict(), other.train.model.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def first_window(one: TrainingSetup) -> list[list[int]]:
    inputs: list[list[int]] = next(iter(one.sampler.epoch(0))).inputs.tolist()
    return inputs


def test_one_seed_is_both():
    one, both = setup(seed=3), setup(seed=9, init_seed=3, data_seed=3)
    assert same_weights(one, both)
    assert first_window(one) == first_window(both)


def test_runs_that_share_a_seed_share_the_weights_or_the_order():
    base, weights, order = setup(seed=3), setup(seed=4, init_seed=3), setup(seed=4, data_seed=3)
    assert same_weights(base, weights)
    assert first_window(base) != first_window(weights)
    assert not same_weights(base, order)
    assert first_window(base) == first_window(order)


def test_dropout_follows_the_seed_of_the_weights():
    def draw(**seeds: int) -> float:
        setup(**seeds)
        return float(torch.rand(()))

    assert draw(seed=3) == draw(seed=4, init_seed=3) != draw(seed=4, data_seed=3)
