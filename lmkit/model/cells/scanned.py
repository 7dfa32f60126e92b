"""Cells whose state is a linear recurrence with coefficients that the input alone decides: trained by a scan."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.scan import scan

__all__ = ["ScannedCell"]


class ScannedCell(Cell):
    """h' = a h + b, elementwise, where a and b come from the projected input; the outputs are h."""

    state_names = ("h",)

    @abstractmethod
    def pair(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients a and the additions b of projected inputs (..., P): (..., D) each."""

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        a, b = self.pair(projected)
        h = a * state[0] + b
        return h, (h,)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        outputs = scan(*self.pair(self.project(inputs)), state[0])
        return outputs, (outputs[-1],)
