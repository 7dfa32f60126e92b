"""Zoneout around a recurrent cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lmkit.model.cells.cell import Cell, CellState, blend

__all__ = ["Zoneout"]


class Zoneout(Cell):
    """h' = m h + (1 - m) C(x, h) for each tensor of the state of a cell C, with m = 1 where a unit keeps its value.

    Krueger et al. (2017), arXiv 1606.01305, section 3, with one probability for all tensors of the state. In training
    ``forward`` draws m for each step, row and unit. Everywhere else m is its expectation, the probability, so that an
    evaluation draws nothing and ``step`` gives what ``forward`` gives.

    make_cell: makes C, which must have its outputs in its state as ``h``, from input size and hidden size.
    """

    def __init__(
        self, make_cell: Callable[[int, int], Cell], probability: float, input_size: int, hidden_size: int
    ) -> None:
        super().__init__()
        self.cell = make_cell(input_size, hidden_size)
        self.probability = probability
        self.input_size, self.projected_size = input_size, self.cell.projected_size
        self.output_size = self.cell.output_size
        self.state_names = self.cell.state_names
        self.recurrent_matrices = tuple(f"cell.{name}" for name in self.cell.recurrent_matrices)
        self.gate_names = self.cell.gate_names

    @property
    def kept_size(self) -> int:
        return self.cell.kept_size + 3 * len(self.state_names) * self.output_size

    def initialize(self) -> None:
        self.cell.initialize()

    def constrain(self) -> None:
        self.cell.constrain()

    def initial_state(self, batch_size: int) -> CellState:
        """That of the cell."""
        return self.cell.initial_state(batch_size)

    def project(self, inputs: Tensor) -> Tensor:
        return self.cell.project(inputs)

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        return self.cell.gate_rows()

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        """What the cell names."""
        return self.cell.look(projected, state)

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        _, after = self.cell.step(projected, state)
        state = blend(state, after, [self.probability] * len(state))
        return state[self.state_names.index("h")], state

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        if self.training:
            drawn = (torch.empty(len(inputs), *one.shape, dtype=one.dtype, device=one.device) for one in state)
            return self.cell.blended(inputs, state, [one.bernoulli_(self.probability) for one in drawn])
        expected = state[0].new_full((len(inputs), 1, 1), self.probability)
        return self.cell.blended(inputs, state, [expected] * len(state))
