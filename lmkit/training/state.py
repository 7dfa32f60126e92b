"""Everything that training changes, in one value that belongs to the caller."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from lmkit.model.language_model import LanguageModel
from lmkit.model.state import State

__all__ = ["Annealing", "TrainState"]


@dataclass
class Annealing:
    """Memory of the validations: for the plateau schedule, for early stopping, and for the best model."""

    best: float = math.inf
    best_step: int = 0
    factor: float = 1.0
    bad_validations: int = 0
    validated_at: int = 0

    def update(self, nats_per_token: float, step: int, lr_decay: float) -> bool:
        """Take note of a validation; return whether it is the best. Each one that is not divides the learning rate."""
        self.validated_at = step
        if nats_per_token < self.best:
            self.best, self.best_step, self.bad_validations = nats_per_token, step, 0
            return True
        self.factor /= lr_decay
        self.bad_validations += 1
        return False


@dataclass
class TrainState:
    """The whole state of a training run, between two steps.

    carried: the recurrent state that the next window continues (None at the start of an epoch). epoch, index: the
    place in the data, the next window to train on. elapsed: seconds inside the loop, without set-up and evaluation.
    """

    model: LanguageModel
    optimizer: Optimizer
    carried: State | None = None
    epoch: int = 0
    index: int = 0
    step: int = 0
    tokens: int = 0
    elapsed: float = 0.0
    annealing: Annealing = field(default_factory=Annealing)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values that ``torch.load(weights_only=True)`` reads back."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "carried": self.carried,
            "place": (self.epoch, self.index, self.step, self.tokens, self.elapsed),
            "annealing": vars(self.annealing).copy(),
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Continue from ``state_dict``: model and optimiser are filled in place, torch's generators are set."""
        self.model.load_state_dict(values["model"])
        self.optimizer.load_state_dict(values["optimizer"])
        self.carried = values["carried"]
        self.epoch, self.index, self.step, self.tokens, self.elapsed = values["place"]
        self.annealing = Annealing(**values["annealing"])
        torch.set_rng_state(values["generator"])
        if values["cuda_generators"]:
            torch.cuda.set_rng_state_all(values["cuda_generators"])
