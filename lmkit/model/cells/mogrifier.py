"""The Mogrifier LSTM."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.lstm import LSTM_GATES, lstm_gates, lstm_memory
from lmkit.model.cells.matrix import MatrixCell

__all__ = ["Mogrifier"]


class Mogrifier(MatrixCell):
    """An LSTM whose input and state gate each other before each step: x = 2 sigmoid(Q h) x, then h = 2 sigmoid(R x) h,
    and so on in turns (Melis, Kocisky & Blunsom 2020, arXiv 1909.01792). mogrifier_rounds: turns; 0 is the plain LSTM.
    """

    state_names = ("h", "c")
    recurrent_matrices = ("from_state.weight",)
    gate_names = LSTM_GATES

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        mogrifier_rounds: int = 5,
        recurrent_init: str = "uniform",
        recurrent_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.recurrent_init, self.recurrent_scale = recurrent_init, recurrent_scale
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, input_size
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_state = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        sizes = [(hidden_size, input_size), (input_size, hidden_size)]
        self.turns = nn.ModuleList(nn.Linear(*sizes[number % 2], bias=False) for number in range(mogrifier_rounds))

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, H)."""
        zeros = self.from_state.weight.new_zeros(batch_size, self.output_size)
        return zeros, zeros.clone()

    def gate_matrices(self) -> list[Tensor]:
        return list(self.from_state.weight.split(self.output_size))

    def project(self, inputs: Tensor) -> Tensor:
        """The inputs themselves: the state gates them first."""
        return inputs

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        turns = set(self.turns.parameters())
        for parameter, rows in super().gate_rows():
            yield parameter, (len(parameter),) if parameter in turns else rows

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        x, h = projected, state[0]
        for number, turn in enumerate(self.turns):
            if number % 2 == 0:
                x = 2 * torch.sigmoid(turn(h)) * x
            else:
                h = 2 * torch.sigmoid(turn(x)) * h
        return lstm_gates(self.from_input(x) + self.from_state(h))

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        seen = self.look(projected, state)
        c = lstm_memory(seen, state[1])
        h = seen["output"] * torch.tanh(c)
        return h, (h, c)
