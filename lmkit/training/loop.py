"""The training loop: a generator of records. Saving, showing and stopping happen in the caller, where it yields."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lmkit.config import TrainingConfig
from lmkit.samplers import Sampler, Window
from lmkit.training.freezing import unfreeze
from lmkit.training.optimizers import learning_rate
from lmkit.training.state import TrainState
from lmkit.training.step import Pending, StepRecord, Update, sync, take_step

__all__ = ["EvaluationRecord", "Validated", "fit", "is_finished", "progress_of", "reached_limits", "validation_is_due"]


class Validated(Protocol):
    """What a validation has measured."""

    @property
    def nats_per_target(self) -> float:
        """Mean negative log-likelihood of a target in nats."""

    @property
    def rank(self) -> tuple[float, ...]:
        """What makes one model better than another: numbers that are compared from the left, the lower is better."""

    def logged(self) -> dict[str, Any]:
        """What metrics.jsonl holds of it."""


@dataclass(frozen=True)
class EvaluationRecord:
    """A validation: after which step and epoch, what it measured, and whether it is the best so far. averaged: how many
    weights are in the mean that was measured, 0 for the weights themselves.
    """

    step: int
    epoch: int
    tokens: int
    evaluation: Any
    is_best: bool
    averaged: int = 0


def fit(
    train: TrainState,
    sampler: Sampler,
    config: TrainingConfig,
    update: Update,
    validate: Callable[[], Validated] | None,
) -> Iterator[StepRecord | EvaluationRecord]:
    """Train until epochs, steps or seconds run out, or until validation stops getting better.

    The train state is whole at every yield: a loop that is left there and entered again, in this process or another
    one, continues as if nothing had happened. ``validate`` is called every ``eval_every`` steps (each epoch without it)
    and at the end; None trains without validation. Seconds count inside the loop only: what the caller does between
    two records is not training time, nor is validation.
    """
    windows: Iterator[Window] | None = None
    steps: list[Pending] = []
    while True:
        if validate is not None and validation_is_due(train, sampler, config):
            yield _validation(train, config, validate)
        if is_finished(train, sampler, config) or _stopped_early(train, config):
            return
        clock = time.perf_counter()
        if windows is None:
            windows = sampler.epoch(train.epoch, train.index, train.world.rows(sampler.batch_size))
            targets_per_window = sampler.targets_per_window(train.epoch)
        progress = progress_of(train, sampler, config)
        lr = learning_rate(config, progress, train.validations.factor, train.epoch)
        unfreeze(train, config)
        if train.average is not None:
            train.average.before_step(train.model, train.step, progress)
        steps.append(take_step(train, next(windows), update, lr=lr, targets_per_window=targets_per_window))
        if train.index == sampler.num_windows(train.epoch):
            train.epoch, train.index, train.carried, windows = train.epoch + 1, 0, None, None
        record = sync(train, steps, update) if _must_be_read(train, sampler, config, update) else None
        train.elapsed += time.perf_counter() - clock
        if config.max_seconds is not None:  # what follows from the clock must be the same in all processes
            train.elapsed = train.world.broadcast(train.elapsed)
        if record is not None:
            steps = []
            yield record


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


def validation_is_due(train: TrainState, sampler: Sampler, config: TrainingConfig) -> bool:
    """Whether a validation comes before the next step, in a run that has any."""
    if train.step in (0, train.validations.validated_at):
        return False
    if is_finished(train, sampler, config):
        return True
    return train.index == 0 if config.eval_every is None else train.step % config.eval_every == 0


def is_finished(train: TrainState, sampler: Sampler, config: TrainingConfig) -> bool:
    """Whether epochs, steps or seconds have run out."""
    return progress_of(train, sampler, config) >= 1.0


def reached_limits(train: TrainState, sampler: Sampler, config: TrainingConfig) -> list[str]:
    """The options whose end the run is at, as they are written: ``["--max-steps 100"]``."""
    limits = {name: getattr(config, name) for name in ("epochs", "max_steps", "max_seconds")}
    limits["epochs"] = config.epoch_limit
    found = []
    for name, limit in limits.items():
        only: dict[str, Any] = {other: limit if other == name else None for other in limits}
        alone = replace(config, **only)
        if limit is not None and is_finished(train, sampler, alone):
            found.append(f"--{name.replace('_', '-')} {limit:g}")
    return found


def _must_be_read(train: TrainState, sampler: Sampler, config: TrainingConfig, update: Update) -> bool:
    """At fixed steps, and wherever something follows that needs a whole state: a function of the position alone."""
    if train.step % update.read_every == 0 or train.index == 0:
        return True
    return is_finished(train, sampler, config) or validation_is_due(train, sampler, config)


def _stopped_early(train: TrainState, config: TrainingConfig) -> bool:
    return config.patience is not None and train.validations.bad_validations >= config.patience


def _validation(train: TrainState, config: TrainingConfig, validate: Callable[[], Validated]) -> EvaluationRecord:
    evaluation = validate()
    nats = evaluation.nats_per_target
    is_best = train.validations.update(nats, evaluation.rank, train.step, config.lr_decay)
    averaged = 0
    if train.average is not None:
        averaged = int(train.average.count)
        train.average.after_validation(train.model, train.step, nats)
    return EvaluationRecord(train.step, train.epoch, train.tokens, evaluation, is_best, averaged)
