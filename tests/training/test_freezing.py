"""Frozen parameters keep their bits, rates fall from part to part, and parts open from the top in their turn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lmkit.config import Config, ModelConfig
from lmkit.errors import ConfigError
from lmkit.model.cells import CELLS
from lmkit.model.parts import named_parts, parts_by_depth
from lmkit.model.shapes import shape_model
from lmkit.training.freezing import freeze

LAYERS = {"num_layers": 2, "optimizer": "sgd", "lr": 0.5, "max_grad_norm": 0.0, "schedule": "constant"}


def values(training) -> dict[str, list[torch.Tensor]]:
    """Copies of the parameters of each part."""
    return {name: [one.detach().clone() for one in parts] for name, parts in named_parts(training.train.model).items()}


def moved(training, before: dict[str, list[torch.Tensor]]) -> set[str]:
    """The parts of which each parameter has changed since; all others have kept every bit."""
    changed = set()
    for name, parameters in values(training).items():
        same = [torch.equal(now, then) for now, then in zip(parameters, before[name], strict=True)]
        assert all(same) or not any(same), name
        changed |= set() if all(same) else {name}
    return changed


def steps(training, number: int) -> None:
    """Train for so many steps."""
    records = training.run()
    for _ in range(number):
        next(records)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ({"optimizer": "sgd", "momentum": 0.9}, {"cell": "lstm", "average": "ema"}),
        ({"optimizer": "adamw"}, {"cell": "irnn", "weight_drop": 0.3}),
        ({"optimizer": "muon", "lr": 0.01}, {"cell": "gru", "initial_state": "learned"}),
        ({"optimizer": "adagrad"}, {"cell": "mingru", "block": "residual"}),
    ],
    ids=lambda one: next(iter(one.values())),
)
def test_frozen_parameters_keep_their_bits_without_decay_and_without_memory(make_training, optimizer, options):
    frozen = ("embedding", "layers.0")
    training = make_training(**LAYERS | optimizer | options, freeze=frozen, weight_decay=0.5)
    before = values(training)
    steps(training, 4)
    assert moved(training, before) == {"head", "layers.1"}
    parts = named_parts(training.train.model)
    assert not any(one in training.train.optimizer.state for name in frozen for one in parts[name])
    assert all(one in training.train.optimizer.state for one in parts["layers.1"])


def test_a_frozen_tied_embedding_freezes_the_matrix_of_the_head_and_leaves_its_bias(make_training):
    for name in ("embedding", "head"):
        training = make_training(**LAYERS, tie_embeddings=True, freeze=(name,))
        model = training.train.model
        matrix, bias = model.embedding.weight.detach().clone(), model.head.bias.detach().clone()
        steps(training, 3)
        assert model.head.weight is model.embedding.weight and torch.equal(model.embedding.weight, matrix)
        assert torch.equal(model.head.bias, bias) == (name == "head")


def test_the_gradient_passes_through_what_is_frozen(make_training):
    free, partly = (make_training(**LAYERS, freeze=names) for names in (None, ("layers.1", "head")))
    for training in (free, partly):
        training.train.model.double()
        steps(training, 1)
    for name in ("layers.0", "embedding"):
        for one, other in zip(values(free)[name], values(partly)[name], strict=True):
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("embedding", "layers.0", "layers.1", "head"), "leaves nothing to train"),
        (("attention",), "the network has head, layers.1, layers.0, embedding, and no attention"),
    ],
)
def test_to_freeze_everything_or_what_is_not_there_is_refused(make_training, names, why):
    with pytest.raises(ConfigError, match=why):
        make_training(**LAYERS, freeze=names)


def test_rates_are_divided_from_part_to_part_from_the_head_down(make_training):
    names = ["head", "layers.1", "layers.0", "embedding"]
    for optimizer in ({}, {"optimizer": "muon", "muon_lr": 0.25}):
        plain, falling = (make_training(**LAYERS | optimizer, lr_decay_per_layer=factor) for factor in (1.0, 2.0))
        for training in (plain, falling):
            training.train.model.double()
        before = values(plain)
        for training in (plain, falling):
            steps(training, 1)
        for depth, name in enumerate(names):
            for start, whole, part in zip(before[name], values(plain)[name], values(falling)[name], strict=True):
                assert torch.allclose(2.0**depth * (part - start), whole - start, rtol=1e-6, atol=1e-12), name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["head", "layers.1", "layers.0", "embedding"]),
        ({"freeze": ("layers.1",)}, ["head", "layers.0", "embedding"]),
        ({"freeze": ("head",), "cell": "gru"}, ["layers.1", "layers.0", "embedding"]),
        ({"tie_embeddings": True}, ["head, embedding", "layers.1", "layers.0"]),
        ({"attention": 4}, ["head", "attention", "layers.1", "layers.0", "embedding"]),
    ],
    ids=["plain", "frozen layer", "frozen head", "tied", "attention"],
)
def test_parts_open_from_the_top_one_after_every_two_steps_and_what_opened_stays_open(make_training, options, expected):
    training = make_training(**LAYERS | options, unfreeze_every=2, weight_decay=0.1)
    opened: set[str] = set()
    for part in [*expected, "nothing more", "nothing more"]:
        opened |= set(part.split(", ")) - {"nothing more"}
        for _ in range(2):
            before = values(training)
            steps(training, 1)
            assert {
                name for name, ones in named_parts(training.train.model).items() if _any_moved(ones, before[name])
            } == (opened)


def _any_moved(now: list[Any], before: list[torch.Tensor]) -> bool:
    return not all(map(torch.equal, now, before))


def test_parts_open_each_epoch(make_training):
    training = make_training(**LAYERS, unfreeze_every="epoch", epochs=3)
    for opened in ({"head"}, {"head", "layers.1"}, {"head", "layers.1", "layers.0"}):
        epoch, before = training.train.epoch, values(training)
        while training.train.epoch == epoch:
            steps(training, 1)
        assert moved(training, before) == opened


def test_every_parameter_of_every_network_belongs_to_one_part():
    shapes: list[dict[str, Any]] = [{"cell": cell} for cell in CELLS]
    shapes += [{"block": "residual"}, {"attention": 8}, {"initial_state": "learned"}, {"tie_embeddings": True}]
    shapes += [{"head": "adaptive"}, {"head": "adaptive", "tie_embeddings": True, "embedding_size": 4}]
    for options in shapes:
        model = shape_model(ModelConfig(**{"hidden_size": 8, "num_layers": 2, **options}), 40)
        found = [parameter for group in parts_by_depth(model) for parameter in group]
        assert len(found) == len(set(found)) and set(found) == set(model.parameters()), options


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"freeze": "head"}, "--freeze must be a list of names"),
        ({"freeze": ("heads",)}, "--freeze heads: the network has head, layers.0, embedding, and no heads"),
        ({"unfreeze_every": "often"}, "--unfreeze-every must be a whole number or epoch, not 'often'"),
        ({"unfreeze_every": 0}, "--unfreeze-every must be at least 1, not 0"),
        ({"unfreeze_every": 2.5}, "--unfreeze-every must be a whole number"),
        ({"lr_decay_per_layer": 0.5}, "--lr-decay-per-layer must be at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], why: str):
    with pytest.raises(ConfigError, match=why):
        config = Config().override(options)
        freeze(shape_model(config.model, 40), config.training.freeze or ())


def test_a_number_of_steps_may_be_written_out():
    assert Config().override({"unfreeze_every": "300"}).training.unfreeze_every == 300
