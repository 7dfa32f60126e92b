"""The minimal LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.mingru import positive
from lmkit.model.cells.scanned import ScannedCell

__all__ = ["MinLSTM"]


class MinLSTM(ScannedCell):
    """h' = f / (f + i) h + i / (f + i) n, with sigmoid gates f, i and n = g(...), each of W x + b.

    Feng et al. (2024), arXiv 2410.01201, appendix B. The two shares sum to one, so the state keeps its scale. Neither
    gates nor candidate see the state.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, 3 * hidden_size
        self.linear = nn.Linear(input_size, 3 * hidden_size)

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, H)."""
        return (self.linear.weight.new_zeros(batch_size, self.output_size),)

    def project(self, inputs: Tensor) -> Tensor:
        projected: Tensor = self.linear(inputs)
        return projected

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        f, i, candidate = projected.chunk(3, dim=-1)
        return {"forget": torch.sigmoid(f), "input": torch.sigmoid(i), "candidate": positive(candidate)}

    def pair(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """f / (f + i) is sigmoid(log f - log i): no quotient of two numbers that may both be nothing."""
        f, i, candidate = projected.chunk(3, dim=-1)
        balance = F.logsigmoid(f) - F.logsigmoid(i)
        return torch.sigmoid(balance), torch.sigmoid(-balance) * positive(candidate)
