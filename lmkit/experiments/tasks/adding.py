"""The adding problem: two of many numbers are marked, and their sum is asked for at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.errors import ConfigError
from lmkit.model.recurrent import RecurrentStack

__all__ = ["CHANCE", "AddingBatch", "AddingOptions", "AddingRecord", "Regressor", "adding_batch", "train_adding"]

# The mean squared error of the best guess without having seen anything, 1: the variance of the sum of two
# independent numbers, uniform in [0, 1], is 2 / 12.
CHANCE = 1 / 6
VALIDATION_SEED = 2**40  # beyond the seeds of trainings


class AddingBatch(NamedTuple):
    """Sequences of numbers in [0, 1) and marks, 0 or 1, side by side: inputs (T, B, 2); the sums of the two marked
    numbers: targets (B,).
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class AddingOptions:
    """A training on the adding problem. options: the cell's own. clip: the largest norm of the gradient; None for no
    clipping. eval_every: updates between two measurements.
    """

    length: int
    cell: str = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    lr: float = 3e-3
    clip: float | None = 1.0
    max_steps: int = 5000
    eval_every: int = 100
    eval_rows: int = 500
    seed: int = 0


class AddingRecord(NamedTuple):
    """The network after an update. mse: over sequences that are never trained on, the same in every run. batch_mse: of
    the batch that was trained on.
    """

    step: int
    mse: float
    batch_mse: float
    model: Regressor


class Regressor(nn.Module):
    """Recurrent layers of any cell, and a line from the last output to one number. Letters of shapes are those of
    ``lmkit.model``.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.recurrent = RecurrentStack(cell, input_size, hidden_size, num_layers, options=options)
        self.output = nn.Linear(self.recurrent.output_size, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (T, B, E) from the initial state: a number for each row, (B,)."""
        outputs_TBD, _ = self.recurrent(inputs, self.recurrent.initial_state(inputs.shape[1]))
        predicted: Tensor = self.output(outputs_TBD[-1]).squeeze(-1)
        return predicted

    def constrain(self) -> None:
        """Put parameters back into the bounds that the cells hold them in, after each update."""
        for cell in self.recurrent.cells:
            cell.constrain()


def adding_batch(length: int, rows: int, generator: torch.Generator) -> AddingBatch:
    """Sequences of ``length`` numbers, one marked in the first half and one in the second.

    Hochreiter & Schmidhuber 1997; halves as in Arjovsky, Shah & Bengio 2016, arXiv 1511.06464, section 5.2. Raises
    ConfigError where there are no two halves.
    """
    if length < 2:
        raise ConfigError(f"The adding problem needs two numbers or more: give a length above {length}.")
    values_TB = torch.rand(length, rows, generator=generator)
    first_B = torch.randint(length // 2, (rows,), generator=generator)
    second_B = torch.randint(length // 2, length, (rows,), generator=generator)
    marks_TB = torch.zeros(length, rows).scatter_(0, torch.stack([first_B, second_B]), 1.0)
    return AddingBatch(torch.stack([values_TB, marks_TB], dim=2), (values_TB * marks_TB).sum(dim=0))


def train_adding(options: AddingOptions) -> Iterator[AddingRecord]:
    """Train by Adam on fresh sequences; yields a record each ``eval_every`` updates and after the last. Leave the loop
    to end early. A function of the options; torch's own generator stays as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = Regressor(options.cell, 2, options.hidden_size, options.num_layers, options.options)
    generator = torch.Generator().manual_seed(options.seed)
    held_out = adding_batch(options.length, options.eval_rows, torch.Generator().manual_seed(VALIDATION_SEED))
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    for step in range(1, options.max_steps + 1):
        batch = adding_batch(options.length, options.batch_size, generator)
        loss = _update(model, optimizer, batch, options.clip)
        if step % options.eval_every == 0 or step == options.max_steps:
            yield AddingRecord(step, _measure(model, held_out), loss, model)


def _update(model: Regressor, optimizer: torch.optim.Optimizer, batch: AddingBatch, clip: float | None) -> float:
    optimizer.zero_grad()
    loss = F.mse_loss(model(batch.inputs), batch.targets)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    model.constrain()
    return loss.item()


@torch.no_grad()
def _measure(model: Regressor, batch: AddingBatch) -> float:
    return F.mse_loss(model(batch.inputs), batch.targets).item()
