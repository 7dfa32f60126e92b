"""The minimal LSTM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.mingru import positive
from lmkit.model.cells.scanned import LinearScannedCell
from lmkit.model.widened import widened

__all__ = ["MinLSTM"]


class MinLSTM(LinearScannedCell):
    """h' = f / (f + i) h + i / (f + i) n, with sigmoid gates f, i and n = g(...), each of W x + b.

    Feng et al. (2024), arXiv 2410.01201, appendix B. The two shares sum to one, so the state keeps its scale. Neither
    gates nor candidate see the state.
    """

    num_parts = 3

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        f, i, candidate = projected.chunk(3, dim=-1)
        return {"forget": torch.sigmoid(f), "input": torch.sigmoid(i), "candidate": positive(candidate)}

    def pair(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """f / (f + i) is sigmoid(log f - log i): no quotient of two numbers that may both be nothing."""
        f, i, candidate = widened(projected).chunk(3, dim=-1)
        balance = F.logsigmoid(f) - F.logsigmoid(i)
        return torch.sigmoid(balance), torch.sigmoid(-balance) * positive(candidate)
