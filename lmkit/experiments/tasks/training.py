"""Training on a task of tensors: Adam on fresh batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from lmkit.experiments.tasks.reader import Reader
from lmkit.experiments.tasks.task import Batch, Task

__all__ = ["TaskRecord", "TaskTraining", "make_reader", "train_on"]

HELD_OUT_SEED = 2**40  # beyond the seeds of trainings


@dataclass(frozen=True)
class TaskTraining:
    """How a network is trained. options: the cell's own. clip: the largest norm of the gradient; None: no clipping.
    eval_every: updates between two measurements, on ``eval_rows`` sequences that are the same in every training.
    """

    cell: str = "lstm"
    hidden_size: int = 32
    num_layers: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    lr: float = 3e-3
    clip: float | None = 1.0
    max_steps: int = 2000
    eval_every: int = 50
    eval_rows: int = 500
    seed: int = 0


class TaskRecord(NamedTuple):
    """The network after an update, its error on sequences that are never trained on, and the loss of the update."""

    step: int
    error: float
    loss: float
    model: Reader


def train_on(task: Task, training: TaskTraining) -> Iterator[TaskRecord]:
    """Train; yields a record each ``eval_every`` updates and after the last. Leave the loop to end early. A function of
    its arguments; torch's own generator stays as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = make_reader(task, training)
    generator = torch.Generator().manual_seed(training.seed)
    held_out = task.batch(training.eval_rows, torch.Generator().manual_seed(HELD_OUT_SEED))
    optimizer = Adam(model.parameters(), lr=training.lr)
    for step in range(1, training.max_steps + 1):
        loss = _update(task, model, optimizer, task.batch(training.batch_size, generator), training.clip)
        if step % training.eval_every == 0 or step == training.max_steps:
            yield TaskRecord(step, _error(task, model, held_out), loss, model)


def make_reader(task: Task, training: TaskTraining) -> Reader:
    """A network of the size that the task asks for, with weights from torch's generator."""
    return Reader(
        training.cell,
        task.input_size,
        task.output_size,
        hidden_size=training.hidden_size,
        num_layers=training.num_layers,
        options=training.options,
    )


def _update(task: Task, model: Reader, optimizer: Optimizer, batch: Batch, clip: float | None) -> float:
    optimizer.zero_grad()
    loss = task.loss(model(batch.inputs), batch.targets)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    model.constrain()
    return loss.item()


@torch.no_grad()
def _error(task: Task, model: Reader, batch: Batch) -> float:
    return task.error(model(batch.inputs), batch.targets)
