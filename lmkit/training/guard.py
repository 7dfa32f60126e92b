"""The guard of a training: steps whose loss or gradient is not finite, or far out of line, move no weight."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lmkit.training.mismatch import Mismatch

__all__ = ["MAX_SKIPPED_IN_A_ROW", "Guard", "Skipped"]

REMEMBERED = 128  # steps that a spike is measured against
NEEDED = 64  # of them, before there are spikes
SIGMAS = 6.0
MAX_SKIPPED_IN_A_ROW = 10


@dataclass(frozen=True)
class Skipped:
    """A step that moved nothing, and why: ``nonfinite`` or ``spike``. (epoch, index) is the position of its
    window in the data.

    nats_per_token and grad_norm are what it measured; norms, where they were still there, the gradient norm of each
    parameter.
    """

    step: int
    epoch: int
    index: int
    reason: str
    nats_per_token: float
    grad_norm: float
    norms: dict[str, float] = field(default_factory=dict)


@dataclass
class Guard:
    """Memory of the guard: the last 128 losses (nats per token) and gradient norms, and how many steps were skipped.

    A spike is a loss or a norm above mean + 6 sigma of the last 128 finite steps, of which there must be 64 at least;
    it is remembered like any other step, so that a lasting change of level is not skipped for ever.
    """

    recent: Tensor = field(default_factory=lambda: torch.full((REMEMBERED, 2), math.nan))
    seen: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    rollbacks: int = 0

    def judge(self, nats_per_token: Tensor, norm: Tensor) -> Tensor:
        """Whether a step with this loss and gradient norm is a spike: a 0-d bool where the tensors are, never read
        here. The step is remembered.
        """
        self.recent = self.recent.to(norm.device)
        now = torch.stack([nats_per_token.float(), norm.float()])
        mean = self.recent.nanmean(0)
        sigma = (self.recent - mean).square().nanmean(0).sqrt()
        enough = (~self.recent.isnan()).sum(0) >= NEEDED
        spike = (enough & (now > mean + SIGMAS * sigma)).any()
        finite = torch.isfinite(now).all()
        self.recent[self.seen % REMEMBERED] = torch.where(finite, now, math.nan)
        self.seen += 1
        return spike

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {**vars(self), "recent": self.recent.clone()}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Take over the memory of another guard. Raises Mismatch for one of another size."""
        recent = values["recent"]
        if tuple(recent.shape) != (REMEMBERED, 2):
            raise Mismatch(f"the guard's memory has shape {list(recent.shape)}")
        self.recent = recent.clone()
        self.seen, self.skipped = int(values["seen"]), int(values["skipped"])
        self.skipped_in_a_row, self.rollbacks = int(values["skipped_in_a_row"]), int(values["rollbacks"])
