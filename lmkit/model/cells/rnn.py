"""The plain recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.kernel import KernelCell

__all__ = ["RNN"]

NONLINEARITIES = {"tanh": torch.tanh, "relu": torch.relu}


class RNN(KernelCell, nn.RNN):  # type: ignore[misc]  # forward has the signature of cells
    """h' = tanh(W x + b + U h + c) (Elman 1990), or with another nonlinearity."""

    kernel = nn.RNN
    state_names = ("h",)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        return {"preactivation": projected + self.from_state(state[0])}

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        h = NONLINEARITIES[self.nonlinearity](self.look(projected, state)["preactivation"])
        return h, (h,)
