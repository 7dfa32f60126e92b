"""The minimal GRU."""

from __future__ import annotations

import torch
from torch import Tensor

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.scanned import LinearScannedCell
from lmkit.model.widened import widened

__all__ = ["MinGRU", "positive"]


class MinGRU(LinearScannedCell):
    """h' = (1 - z) h + z n, with z = sigmoid(W x + b) and n = g(V x + c).

    Feng et al. (2024), arXiv 2410.01201, appendix B. Neither gate nor candidate sees the state. g keeps the candidate
    positive, as in the paper's experiments.
    """

    num_parts = 2

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        z, candidate = projected.chunk(2, dim=-1)
        return {"update": torch.sigmoid(z), "candidate": positive(candidate)}

    def pair(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        z, candidate = widened(projected).chunk(2, dim=-1)
        return torch.sigmoid(-z), torch.sigmoid(z) * positive(candidate)


def positive(x: Tensor) -> Tensor:
    """g(x) = x + 0.5 where x is not negative, else sigmoid(x)."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))
