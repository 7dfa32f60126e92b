"""The LSTM with layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.lstm import LSTM_GATES, lstm_gates, lstm_memory
from lmkit.model.cells.matrix import MatrixCell

__all__ = ["LayerNormLSTM"]


class LayerNormLSTM(MatrixCell):
    """c' = f c + i g, h' = o tanh(N(c')), with the gates of N(W x) + N(U h) + b.

    N is a layer normalisation, with gains of its own each time (Ba, Kiros & Hinton 2016, arXiv 1607.06450, supplement).
    forget_bias: start value of the forget gate's bias.
    """

    state_names = ("h", "c")
    recurrent_matrices = ("from_state.weight",)
    gate_names = LSTM_GATES

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 0.0,
        recurrent_init: str = "uniform",
        recurrent_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.recurrent_init, self.recurrent_scale = recurrent_init, recurrent_scale
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, 4 * hidden_size
        self.from_input = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.from_state = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.norm_input = nn.LayerNorm(4 * hidden_size)  # its bias is the gates'
        self.norm_state = nn.LayerNorm(4 * hidden_size, bias=False)
        self.norm_memory = nn.LayerNorm(hidden_size)
        with torch.no_grad():
            self.norm_input.bias[hidden_size : 2 * hidden_size] = forget_bias

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, H)."""
        zeros = self.from_state.weight.new_zeros(batch_size, self.output_size)
        return zeros, zeros.clone()

    def gate_matrices(self) -> list[Tensor]:
        return list(self.from_state.weight.split(self.output_size))

    def project(self, inputs: Tensor) -> Tensor:
        projected: Tensor = self.norm_input(self.from_input(inputs))
        return projected

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        return lstm_gates(projected + self.norm_state(self.from_state(state[0])))

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        seen = self.look(projected, state)
        c = lstm_memory(seen, state[1])
        h = seen["output"] * torch.tanh(self.norm_memory(c))
        return h, (h, c)
