"""A task of tensors: sequences, what is asked for at their end, and what a wrong answer costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

__all__ = ["Batch", "Task"]


class Batch(NamedTuple):
    """Sequences (T, B, E) and what is asked for at the end of each (B,)."""

    inputs: Tensor
    targets: Tensor


class Task(ABC):
    """A task of which batches can be drawn without end.

    input_size: E, numbers at each step. output_size: O, numbers that a network gives at the end. chance: the error of
    the best answer that looks at nothing. solved: an error that is reached by reading alone.
    """

    input_size: ClassVar[int]
    output_size: ClassVar[int]
    chance: ClassVar[float]
    solved: ClassVar[float]

    @abstractmethod
    def batch(self, rows: int, generator: torch.Generator) -> Batch:
        """So many sequences."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What is trained on: outputs (B, O), targets (B,)."""

    @abstractmethod
    def error(self, outputs: Tensor, targets: Tensor) -> float:
        """What is reported, at best 0."""
