"""What a recurrent layer is: the contract that every cell keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

__all__ = ["Cell", "CellState", "blend"]

CellState = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """One recurrent layer: the only place that knows its weights.

    A cell is made by ``CELLS[name](input_size, hidden_size, **options)``. Its state is a value, any tuple of tensors
    whose first dimension is the batch; nothing is kept on the module between calls. ``look`` and ``step`` are written
    out from the equations and are the truth; ``forward`` may be any faster kernel that gives the same.

    state_names: what the tensors of the state are, the outputs among them as ``h`` where they are a part of it.
    recurrent_matrices: names of the parameters that multiply the state from step to step, for DropConnect.
    gate_names: of the gates that are stacked in each of them, from the top.
    residual: whether a layer adds to its inputs, and so takes its dropout on its branches: it then has the options
    ``dropout`` and ``locked``.
    input_size: E. projected_size: P, of what ``project`` gives. output_size: D, of what the layer gives.
    """

    state_names: tuple[str, ...]
    recurrent_matrices: tuple[str, ...] = ()
    gate_names: tuple[str, ...] = ()
    residual: ClassVar[bool] = False
    input_size: int
    projected_size: int
    output_size: int

    @property
    def kept_size(self) -> int:
        """About how many numbers a step of a row keeps for its gradient."""
        return self.projected_size + 3 * self.output_size

    def initialize(self) -> None:
        """Draw the start values that the constructor has not drawn. A stack calls it once all its layers are made: the
        numbers that a seed gives to a layer do not depend on what those below it draw here.
        """

    def constrain(self) -> None:
        """Put parameters back into the bounds that the cell holds them in. Training calls it after each update; what is
        within them stays as it is, to the last bit.
        """

    @abstractmethod
    def initial_state(self, batch_size: int) -> CellState:
        """The state before any input: tensors (B, ...)."""

    @abstractmethod
    def project(self, inputs: Tensor) -> Tensor:
        """What of a step depends on its input alone: inputs (..., E) to (..., P)."""

    @abstractmethod
    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        """The gates and what else the equations name, in one step: (B, D) each, by name."""

    @abstractmethod
    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """One step on a projected input (B, P): outputs (B, D) and the new state."""

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """Each matrix (..., rows, columns) among the parameters, with the rows of each gate that is stacked in it. By
        default gates have as many rows as there are outputs; a matrix whose rows are no multiple of them is one gate.
        """
        for parameter in self.parameters():
            if parameter.dim() > 1:
                rows = parameter.flatten(0, -2).shape[0]
                number, rest = divmod(rows, self.output_size)
                yield parameter, (rows,) if rest else (self.output_size,) * number

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """Inputs (T, B, E) from a state: outputs (T, B, D) and the state after the last of them."""
        outputs = []
        for projected_BP in self.project(inputs):
            output_BD, state = self.step(projected_BP, state)
            outputs.append(output_BD)
        return torch.stack(outputs), state

    def blended(self, inputs: Tensor, state: CellState, kept: Sequence[Tensor]) -> tuple[Tensor, CellState]:
        """``forward`` with a share of each value of the state staying what it was at each step; outputs are ``h``.

        kept: the share, for each tensor of the state, (T, B, ...) or of sizes that expand to it.
        """
        outputs = []
        for number, projected_BP in enumerate(self.project(inputs)):
            _, after = self.step(projected_BP, state)
            state = blend(state, after, [share[number] for share in kept])
            outputs.append(state[self.state_names.index("h")])
        return torch.stack(outputs), state

    def gates(self, inputs: Tensor, state: CellState) -> dict[str, Tensor]:
        """What ``look`` names at every step of inputs (T, B, E): (T, B, D) each."""
        seen = []
        for projected_BP in self.project(inputs):
            seen.append(self.look(projected_BP, state))
            _, state = self.step(projected_BP, state)
        return {name: torch.stack([values[name] for values in seen]) for name in seen[0]}


def blend(before: CellState, after: CellState, kept: Sequence[Tensor | float]) -> CellState:
    """The state after a step with a share of each value that it had before: exactly one of the two where the share is
    0 or 1.
    """
    return tuple(share * old + (1 - share) * new for old, new, share in zip(before, after, kept, strict=True))
