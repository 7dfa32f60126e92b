"""The gated recurrent unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.kernel import OwnKernelCell
from lmkit.model.recurrence import Weights, gru
from lmkit.model.widened import widened

__all__ = ["GRU"]


class GRU(OwnKernelCell, nn.GRU):  # type: ignore[misc]  # forward has the signature of cells
    """h' = (1 - z) n + z h, n = tanh(W x + b + r (U h + c)), with sigmoid gates r and z of W x + b + U h + c.

    Cho et al. (2014), arXiv 1406.1078, in the variant that multiplies the reset gate r after the matrix product, as
    cuDNN and torch compute it. Gates are stacked in the order r, z, n.
    """

    state_names = ("h",)
    gate_names = ("reset", "update", "candidate")

    def window(self, inputs: Tensor, h: Tensor, weights: Weights) -> Tensor:
        return gru(inputs, h, weights)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        (h,) = state
        sizes = (2 * h.shape[1], h.shape[1])
        input_gates, input_n = widened(projected).split(sizes, dim=1)
        state_gates, state_n = widened(self.from_state(h)).split(sizes, dim=1)
        r, z = torch.sigmoid(input_gates + state_gates).chunk(2, dim=1)
        return {"reset": r, "update": z, "candidate": torch.tanh(input_n + r * state_n)}

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        (h,) = state
        seen = self.look(projected, state)
        h = seen["candidate"] + seen["update"] * (h - seen["candidate"])
        return h, (h,)
