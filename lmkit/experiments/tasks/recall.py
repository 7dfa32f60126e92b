"""Delayed recall as tensors: which letter began the line?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lmkit.experiments.tasks.task import Batch, Task
from lmkit.text.sources.generated import Recall

__all__ = ["DelayedRecall"]

LETTERS = len(Recall.letters)


@dataclass(frozen=True)
class DelayedRecall(Task):
    """Lines of the text ``recall:LAG`` up to the question mark, each character one of ten, one-hot; the target is the
    number of the first letter. The error is the share of wrong answers.

    Only the answer is trained, not the dots before it: how long a network can keep a letter is then not mixed with how
    soon a loss over all characters comes to the one that matters.
    """

    lag: int

    input_size: ClassVar[int] = LETTERS + 2
    output_size: ClassVar[int] = LETTERS
    chance: ClassVar[float] = 1 - 1 / LETTERS
    solved: ClassVar[float] = 0.1

    def batch(self, rows: int, generator: torch.Generator) -> Batch:
        targets_B = torch.randint(LETTERS, (rows,), generator=generator)
        ids_TB = torch.full((self.lag + 2, rows), LETTERS)  # dots
        ids_TB[0], ids_TB[-1] = targets_B, LETTERS + 1
        return Batch(F.one_hot(ids_TB, self.input_size).float(), targets_B)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def error(self, outputs: Tensor, targets: Tensor) -> float:
        return (outputs.argmax(dim=1) != targets).double().mean().item()
