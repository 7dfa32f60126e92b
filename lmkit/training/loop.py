"""The training loop: a generator of records. Saving, showing and stopping happen in the caller, where it yields."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lmkit.config import TrainingConfig
from lmkit.evaluation.perplexity import Evaluation
from lmkit.samplers import Sampler
from lmkit.training.optimizers import learning_rate
from lmkit.training.state import TrainState
from lmkit.training.step import StepRecord, Update, train_step

__all__ = ["EvaluationRecord", "fit", "progress_of"]


@dataclass(frozen=True)
class EvaluationRecord:
    """A validation: after which step and epoch, what it measured, and whether it is the best so far."""

    step: int
    epoch: int
    tokens: int
    evaluation: Evaluation
    is_best: bool


def fit(
    train: TrainState,
    sampler: Sampler,
    config: TrainingConfig,
    update: Update,
    validate: Callable[[], Evaluation] | None,
) -> Iterator[StepRecord | EvaluationRecord]:
    """Train until epochs, steps or seconds run out, or until validation stops getting better.

    The train state is whole at every yield. ``validate`` is called every ``eval_every`` steps (each epoch without it)
    and at the end; None trains without validation. Seconds count from one yield's return to the next yield, so what
    the caller does is not training time.
    """
    validated_at = -1
    while not _finished(train, sampler, config):
        targets_per_window = sampler.num_targets / sampler.num_windows(train.epoch)
        windows = sampler.epoch(train.epoch, train.index)
        clock = time.perf_counter()
        for window in windows:
            lr = learning_rate(config, progress_of(train, sampler, config), train.annealing.factor)
            record = train_step(train, window, update, lr=lr, targets_per_window=targets_per_window)
            train.elapsed += time.perf_counter() - clock
            yield record
            ended = _finished(train, sampler, config)
            due = config.eval_every is not None and train.step % config.eval_every == 0
            if validate and due and not ended:
                validated_at = train.step
                yield _validation(train, config, validate)
                ended = _stopped_early(train, config)
            if ended:
                break
            clock = time.perf_counter()
        if train.index >= sampler.num_windows(train.epoch):
            train.epoch, train.index, train.carried = train.epoch + 1, 0, None
            if validate and config.eval_every is None and not _finished(train, sampler, config):
                validated_at = train.step
                yield _validation(train, config, validate)
        if _stopped_early(train, config):
            return
    if validate and validated_at != train.step:
        yield _validation(train, config, validate)


def progress_of(train: TrainState, sampler: Sampler, config: TrainingConfig) -> float:
    """How much of the run is done, in [0, 1]: the furthest of epochs, steps and seconds."""
    done = []
    if config.epoch_limit is not None:
        done.append((train.epoch + train.index / sampler.num_windows(train.epoch)) / config.epoch_limit)
    if config.max_steps is not None:
        done.append(train.step / config.max_steps)
    if config.max_seconds is not None:
        done.append(train.elapsed / config.max_seconds)
    return min(1.0, max(done))


def _finished(train: TrainState, sampler: Sampler, config: TrainingConfig) -> bool:
    return progress_of(train, sampler, config) >= 1.0


def _stopped_early(train: TrainState, config: TrainingConfig) -> bool:
    return config.patience is not None and train.annealing.bad_validations >= config.patience


def _validation(train: TrainState, config: TrainingConfig, validate: Callable[[], Evaluation]) -> EvaluationRecord:
    evaluation = validate()
    is_best = train.annealing.update(evaluation.nats_per_token, train.step, config.lr_decay)
    return EvaluationRecord(train.step, train.epoch, train.tokens, evaluation, is_best)
