"""The adding problem: two of many numbers are marked, and their sum is asked for at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lmkit.errors import ConfigError
from lmkit.experiments.tasks.task import Batch, Task

__all__ = ["CHANCE", "Adding"]

# The mean squared error of the best guess without having seen anything, 1: the variance of the sum of two
# independent numbers, uniform in [0, 1], is 2 / 12.
CHANCE = 1 / 6


@dataclass(frozen=True)
class Adding(Task):
    """Sequences of ``length`` numbers in [0, 1) with marks, 0 or 1, beside them: one number is marked in the first
    half, one in the second, and the target is their sum. The error is the mean squared one.

    Hochreiter & Schmidhuber 1997; halves as in Arjovsky, Shah & Bengio 2016, arXiv 1511.06464, section 5.2. Raises
    ConfigError where there are no two halves.
    """

    length: int

    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    chance: ClassVar[float] = CHANCE
    solved: ClassVar[float] = CHANCE / 10

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ConfigError(f"The adding problem needs two numbers or more: give a length above {self.length}.")

    def batch(self, rows: int, generator: torch.Generator) -> Batch:
        values_TB = torch.rand(self.length, rows, generator=generator)
        first_B = torch.randint(self.length // 2, (rows,), generator=generator)
        second_B = torch.randint(self.length // 2, self.length, (rows,), generator=generator)
        marks_TB = torch.zeros(self.length, rows).scatter_(0, torch.stack([first_B, second_B]), 1.0)
        return Batch(torch.stack([values_TB, marks_TB], dim=2), (values_TB * marks_TB).sum(dim=0))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs[:, 0], targets)

    def error(self, outputs: Tensor, targets: Tensor) -> float:
        return self.loss(outputs, targets).item()
