"""Processes that train together take the steps of one process: the same losses, the same weights."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from lmkit.config import ModelConfig, TrainingConfig
from lmkit.distributed.parallel import Parallel
from lmkit.distributed.world import ALONE, World
from lmkit.model.language_model import LanguageModel, SequenceLoss
from lmkit.model.penalty import ActivationPenalty
from lmkit.session.sampling import training_sampler
from lmkit.training.average import make_average
from lmkit.training.freezing import freeze
from lmkit.training.generators import Generators
from lmkit.training.loop import fit
from lmkit.training.optimizers import make_optimizer
from lmkit.training.state import TrainState
from lmkit.training.step import StepRecord, Update
from tests.distributed.processes import Join, in_processes

STREAM = np.random.default_rng(7).choice(40, 500, p=np.arange(40, 0, -1) / 820).astype(np.uint8)
DOCUMENTS = np.cumsum([0, 3, 70, 8, 2, 90, 31, 5, 120, 40, 4])
OF_MODELS = {item.name for item in dataclasses.fields(ModelConfig)}
BASE = {"hidden_size": 6, "dropout": 0.0, "batch_size": 5, "window": 8, "optimizer": "sgd", "lr": 0.5, "max_steps": 20}
CPU = torch.device("cpu")

CASES: dict[str, dict[str, Any]] = {
    "sequential": {"num_layers": 2, "max_steps": 50},
    "random, a last batch of fewer rows": {
        "sampler": "random",
        "window": 7,
        "batch_size": 16,
        "burn_in": 3,
        "max_steps": 50,
    },
    "documents, rows that end": {"sampler": "document", "cell": "gru", "max_steps": 50},
    "parts of the rows": {"accumulate": 3, "momentum": 0.9, "tie_embeddings": True},
    "penalties and a dropped state": {"ar_alpha": 2.0, "tar_beta": 1.0, "drop_state": 0.3},
    "tails without targets": {"head": "adaptive", "cutoffs": (20, 34, 38), "momentum": 0.9},
    "tied tails": {"head": "adaptive", "cutoffs": (20, 34), "tie_embeddings": True, "weight_decay": 0.01},
    "a learned state": {"initial_state": "learned", "drop_state": 0.2, "momentum": 0.9, "cell": "gru"},
    "cuts of k1k2": {"truncation": "k1k2", "k1": 3, "k2": 8},
    "cuts of artbp": {"truncation": "artbp"},
    "masks of weights and types": {"weight_drop": 0.4, "embedding_type_dropout": 0.2},
    "one part after the other": {"unfreeze_every": 7, "freeze": ("layers.0",), "num_layers": 2},
    "a mean": {"average": "ema", "average_decay": 0.9, "cell": "rnn"},
    "attention": {"attention": 5, "batch_size": 2},
    "muon": {"optimizer": "muon", "lr": 0.01},
    "adamw": {"optimizer": "adamw", "lr": 0.01},
}


class Trained(NamedTuple):
    """What a training came to: its losses, its norms, and all weights in one tensor."""

    losses: list[float]
    norms: list[float]
    targets: list[int]
    weights: Tensor


def train(world: World, dtype: torch.dtype = torch.float64, **options: Any) -> Trained:
    given = {**BASE, **options}
    shape = {name: value for name, value in given.items() if name in OF_MODELS}
    config = TrainingConfig(**{name: value for name, value in given.items() if name not in OF_MODELS})
    torch.manual_seed(1)
    model = LanguageModel(ModelConfig(**shape), 41).to(dtype)
    freeze(model, config.freeze or ())
    torch.manual_seed(100 + world.rank)  # what is drawn from torch's own generator differs
    common = torch.Generator().manual_seed(9)  # alone, too: it has the masks that processes have in common
    loss = SequenceLoss(model, ActivationPenalty(config.ar_alpha, config.tar_beta), config.border_factor, common)
    generators = Generators(world, common)
    train = TrainState(model, make_optimizer(model, config), average=make_average(config), generators=generators)
    update = Update(loss, CPU, max_grad_norm=config.max_grad_norm, accumulate=config.accumulate)
    if not world.alone:
        parallel = Parallel(loss, world)
        update = dataclasses.replace(update, loss=parallel, no_sync=parallel.no_sync)
    sampler = training_sampler(config, STREAM, DOCUMENTS, eos_id=40, seed=3)
    records = [record for record in fit(train, sampler, config, update, None) if isinstance(record, StepRecord)]
    weights = torch.cat([parameter.detach().flatten() for parameter in train.measured.parameters()])
    losses = [record.nll / record.tokens for record in records]
    return Trained(losses, [record.grad_norm for record in records], [record.tokens for record in records], weights)


def in_float32(world: World) -> dict[str, Trained]:
    kinds = {"sgd": {}, "adamw": CASES["adamw"]}
    return {name: train(world, torch.float32, **options, max_steps=50) for name, options in kinds.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two processes has found, in all cases."""

    def work(join: Join) -> Any:
        world = join()
        return {name: train(world, **options) for name, options in CASES.items()}, in_float32(world)

    return in_processes(2, work, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", CASES)
def test_two_processes_take_the_steps_of_one(found: list[Any], name: str):
    alone = train(ALONE, **CASES[name])
    for cases, _ in found:
        mine = cases[name]
        assert mine.targets == alone.targets
        assert mine.losses == pytest.approx(alone.losses, rel=1e-9)
        assert mine.norms == pytest.approx(alone.norms, rel=1e-7)
        torch.testing.assert_close(mine.weights, alone.weights, rtol=1e-7, atol=1e-9)
    assert found[0][0][name].weights.equal(found[1][0][name].weights)


@pytest.mark.parametrize(("optimizer", "tolerance"), [("sgd", 1e-5), ("adamw", 1e-4)])
def test_in_float32_they_do_so_to_rounding(found: list[Any], optimizer: str, tolerance: float):
    alone = in_float32(ALONE)[optimizer]
    for _, cases in found:
        assert cases[optimizer].losses == pytest.approx(alone.losses, rel=tolerance)
