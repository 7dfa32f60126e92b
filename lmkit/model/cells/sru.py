"""The simple recurrent unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import Cell, CellState

__all__ = ["SRU"]


class SRU(Cell):
    """c' = f c + (1 - f) W x, h' = r c' + (1 - r) x, with sigmoid gates f, r of W x + v c + b, elementwise in c.

    Lei et al. (2018), arXiv 1709.02755. Where the input has another size than the outputs, a linear map of it takes the
    place of x in the highway.
    """

    state_names = ("c",)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, 4 * hidden_size
        self.linear = nn.Linear(input_size, 3 * hidden_size, bias=False)
        self.highway = nn.Linear(input_size, hidden_size, bias=False) if input_size != hidden_size else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(2 * hidden_size))
        self.weight_c = nn.Parameter(torch.empty(2 * hidden_size).uniform_(-0.5, 0.5))

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, H)."""
        return (self.bias.new_zeros(batch_size, self.output_size),)

    def project(self, inputs: Tensor) -> Tensor:
        """Of the candidate, of both gates with their biases, and the highway."""
        candidate, gates = self.linear(inputs).split((self.output_size, 2 * self.output_size), dim=-1)
        return torch.cat([candidate, gates + self.bias, self.highway(inputs)], dim=-1)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        candidate, from_f, from_r, _ = projected.chunk(4, dim=-1)
        of_f, of_r = self.weight_c.chunk(2)
        return {
            "candidate": candidate,
            "forget": torch.sigmoid(torch.addcmul(from_f, of_f, state[0])),
            "reset": torch.sigmoid(torch.addcmul(from_r, of_r, state[0])),
        }

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        seen = self.look(projected, state)
        c = seen["candidate"] + seen["forget"] * (state[0] - seen["candidate"])
        x = projected[..., -self.output_size :]
        return x + seen["reset"] * (c - x), (c,)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """All products at once; what is left for each step is elementwise, and the reset gate waits for all of them."""
        candidate_TBH, f_TBH, r_TBH = self.linear(inputs).chunk(3, dim=-1)
        (of_f, of_r), (bias_f, bias_r) = self.weight_c.chunk(2), self.bias.chunk(2)
        values = [state[0]]
        for w, f in zip(candidate_TBH.unbind(), (f_TBH + bias_f).unbind(), strict=True):
            forget = torch.sigmoid(torch.addcmul(f, of_f, values[-1])).to(w.dtype)
            values.append(torch.lerp(w, values[-1].to(w.dtype), forget))
        c_TBH = torch.stack(values[1:])
        before_TBH = torch.cat([state[0][None].to(c_TBH.dtype), c_TBH[:-1]])
        reset_TBH = torch.sigmoid(torch.addcmul(r_TBH + bias_r, of_r, before_TBH))
        highway_TBH = self.highway(inputs).to(c_TBH.dtype)
        return torch.lerp(highway_TBH, c_TBH, reset_TBH.to(c_TBH.dtype)), (c_TBH[-1],)
