"""What the tests of training share: a whole small training run, made afresh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lmkit.config import ModelConfig, TrainingConfig
from lmkit.evaluation.perplexity import Evaluation
from lmkit.model.language_model import LanguageModel, SequenceLoss
from lmkit.model.penalty import ActivationPenalty
from lmkit.samplers import Sampler
from lmkit.session.sampling import training_sampler
from lmkit.training.average import make_average
from lmkit.training.freezing import freeze
from lmkit.training.loop import EvaluationRecord, fit
from lmkit.training.optimizers import make_optimizer
from lmkit.training.state import TrainState
from lmkit.training.step import StepRecord, Update

Record = StepRecord | EvaluationRecord
STREAM = np.random.default_rng(7).integers(0, 11, 200).astype(np.uint8)
MODEL_FIELDS = {item.name for item in dataclasses.fields(ModelConfig)}


class Training(NamedTuple):
    """All that ``fit`` takes."""

    train: TrainState
    sampler: Sampler
    config: TrainingConfig
    update: Update

    def run(self, validate: Callable[[], Evaluation] | None = None) -> Iterator[Record]:
        return fit(self.train, self.sampler, self.config, self.update, validate)


MakeTraining = Callable[..., Training]


@pytest.fixture(scope="session")
def make_training() -> MakeTraining:
    """A run over 200 tokens of 11 kinds in 4 rows and windows of 8; options go to the model's or the training's
    configuration."""

    def make(
        *,
        seed: int = 1,
        stream: np.ndarray = STREAM,
        precision: torch.dtype = torch.float32,
        read_every: int = 1,
        **options: Any,
    ):
        torch.manual_seed(seed)
        shape = {name: value for name, value in options.items() if name in MODEL_FIELDS}
        rest = {name: value for name, value in options.items() if name not in MODEL_FIELDS}
        vocab_size = int(stream.max()) + 2
        model = LanguageModel(ModelConfig(**{"hidden_size": 12, "dropout": 0.0, **shape}), vocab_size)
        config = TrainingConfig(**{"batch_size": 4, "window": 8, "optimizer": "sgd", "lr": 1.0, "epochs": 2, **rest})
        freeze(model, config.freeze or ())
        documents = np.arange(0, len(stream), 23)
        sampler = training_sampler(config, stream, documents, eos_id=vocab_size - 1, seed=0)
        update = Update(
            SequenceLoss(model, ActivationPenalty(config.ar_alpha, config.tar_beta), config.border_factor),
            torch.device("cpu"),
            precision,
            config.max_grad_norm,
            config.on_nonfinite,
            config.skip_spikes,
            read_every,
            config.accumulate,
        )
        return Training(
            TrainState(model, make_optimizer(model, config), average=make_average(config)), sampler, config, update
        )

    return make


@pytest.fixture(scope="session")
def validations() -> Callable[[Iterable[float]], Callable[[], Evaluation]]:
    """A validation that gives these nats per token, one after the other."""

    def make(values: Iterable[float]) -> Callable[[], Evaluation]:
        coming = iter(values)
        return lambda: Evaluation(nll=10 * next(coming), tokens=10)

    return make
