"""Cells whose state is a linear recurrence with coefficients that the input alone decides: trained by a scan."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.scan import scan

__all__ = ["LinearScannedCell", "ScannedCell"]


class ScannedCell(Cell):
    """h' = a h + b, elementwise, where a and b come from the projected input; the outputs are h."""

    state_names = ("h",)

    @abstractmethod
    def pair(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients a and the additions b of projected inputs (..., P): (..., D) each."""

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, H)."""
        return (next(self.parameters()).new_zeros(batch_size, self.output_size),)

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        a, b = self.pair(projected)
        h = a * state[0] + b
        return h, (h,)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        outputs_TBD = scan(*self.pair(self.project(inputs)), state[0])
        return outputs_TBD, (outputs_TBD[-1],)

    def blended(self, inputs: Tensor, state: CellState, kept: Sequence[Tensor]) -> tuple[Tensor, CellState]:
        """By the same scan: k h + (1 - k) (a h + b) is a recurrence with coefficients k + (1 - k) a."""
        (share,), (a, b) = kept, self.pair(self.project(inputs))
        outputs_TBD = scan(share + (1 - share) * a, (1 - share) * b, state[0])
        return outputs_TBD, (outputs_TBD[-1],)


class LinearScannedCell(ScannedCell):
    """A scanned cell of which ``num_parts`` gates and candidates are linear maps of the input, H wide each."""

    num_parts: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.projected_size = self.num_parts * hidden_size
        self.linear = nn.Linear(input_size, self.projected_size)

    def project(self, inputs: Tensor) -> Tensor:
        projected: Tensor = self.linear(inputs)
        return projected
