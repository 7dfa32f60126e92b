"""The quasi-recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.scan import scan
from lmkit.model.widened import widened

__all__ = ["QRNN"]


class QRNN(Cell):
    """c' = f c + (1 - f) z, h' = o c', with z = tanh(...) and sigmoid gates f, o, each of a convolution over inputs.

    Bradbury et al. (2016), arXiv 1611.01576, fo-pooling. conv_width: inputs that a step sees, its own included; those
    before it are in the state (B, conv_width - 1, E), zeros before the first.
    """

    state_names = ("c", "inputs")

    def __init__(self, input_size: int, hidden_size: int, *, conv_width: int = 2) -> None:
        super().__init__()
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, input_size
        self.conv_width = conv_width
        self.linear = nn.Linear(conv_width * input_size, 3 * hidden_size)

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, H) and (B, conv_width - 1, E)."""
        new_zeros = self.linear.weight.new_zeros
        return new_zeros(batch_size, self.output_size), new_zeros(batch_size, self.conv_width - 1, self.input_size)

    def project(self, inputs: Tensor) -> Tensor:
        """The inputs themselves: they meet those before them."""
        return inputs

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        seen = torch.cat([state[1].flatten(1), projected], dim=1)
        z, f, o = widened(self.linear(seen)).chunk(3, dim=1)
        return {"candidate": torch.tanh(z), "forget": torch.sigmoid(f), "output": torch.sigmoid(o)}

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        seen = self.look(projected, state)
        c = seen["candidate"] + seen["forget"] * (state[0] - seen["candidate"])
        inputs = torch.cat([state[1], projected[:, None]], dim=1)[:, 1:]
        return seen["output"] * c, (c, inputs)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        seen, last = self._seen(inputs, state[1])
        z, f, o = widened(self.linear(seen)).chunk(3, dim=2)
        c_TBH = scan(torch.sigmoid(f), torch.sigmoid(-f) * torch.tanh(z), state[0])
        return torch.sigmoid(o) * c_TBH, (c_TBH[-1], last)

    def _seen(self, inputs: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """What each step sees (T, B, conv_width E), and the inputs that the next step sees with its own."""
        if self.conv_width == 1:
            return inputs, before
        steps = len(inputs)
        stream_TBE = torch.cat([before.transpose(0, 1).to(inputs.dtype), inputs])
        seen = torch.cat([stream_TBE[first : first + steps] for first in range(self.conv_width)], dim=2)
        return seen, stream_TBE[steps:].transpose(0, 1)
