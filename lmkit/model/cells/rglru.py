"""The real-gated linear recurrent unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.scanned import ScannedCell
from lmkit.model.cells.timescales import decays

__all__ = ["RGLRU"]

POWER = 8.0  # c of the paper
SMALLEST = 0.25e-6


class RGLRU(ScannedCell):
    """h' = a h + sqrt(1 - a^2) (i u), with a = sigmoid(L)^(c r), sigmoid gates r, i of u, and c = 8.

    De et al. (2024), "Griffin", arXiv 2402.19427, section 2.4. u is a linear map of the input to the width of the
    state: the branch that the paper's block puts before the unit. timescales: what sigmoid(L)^c starts as
    (``decays``).
    """

    def __init__(self, input_size: int, hidden_size: int, *, timescales: str = "wide") -> None:
        super().__init__()
        self.timescales = timescales
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, 3 * hidden_size
        self.branch = nn.Linear(input_size, hidden_size)
        self.gate = nn.Linear(hidden_size, 2 * hidden_size)
        self.decay = nn.Parameter(decays(timescales, hidden_size).log_().div_(POWER).exp_().logit_())  # L

    def project(self, inputs: Tensor) -> Tensor:
        u = self.branch(inputs)
        return torch.cat([u, self.gate(u)], dim=-1)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        _, r, i = projected.chunk(3, dim=-1)
        return {"recurrence": torch.sigmoid(r), "input": torch.sigmoid(i), "decay": self.pair(projected)[0]}

    def pair(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        u, r, i = projected.chunk(3, dim=-1)
        log_a = POWER * F.logsigmoid(self.decay) * torch.sigmoid(r)
        # of 1 - a^2, exact where a is near one; the bound keeps the root's slope below 1,000, as the paper's code does
        scale = torch.sqrt((-torch.expm1(2 * log_a)).clamp_min(SMALLEST))
        return torch.exp(log_a), scale * torch.sigmoid(i) * u
