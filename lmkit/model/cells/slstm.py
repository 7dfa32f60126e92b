"""The sLSTM: an LSTM with exponential input gates, a normaliser, and memory mixing within heads."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.heads import choose_heads
from lmkit.model.cells.matrix import MatrixCell
from lmkit.model.cells.timescales import forget_biases

__all__ = ["SLSTM"]

BEFORE_ALL = -1e30  # of the stabiliser: nothing is kept from before the first step, and no difference is not a number


class SLSTM(MatrixCell):
    """c' = f c + i z, n' = f n + i, h' = o c' / n', with z = tanh(...), i = exp(...), f and o sigmoids.

    Beck et al. (2024), "xLSTM", arXiv 2405.04517, section 2.2. The recurrent matrices are block-diagonal in the heads.
    Exponentials are kept small by the stabiliser m' = max(log f + m, log i): c and n are stored times exp(-m), which
    changes nothing in h. timescales: how the forget gates of the units start (``forget_biases``).
    """

    state_names = ("h", "c", "n", "m")
    recurrent_matrices = ("recurrent",)
    gate_names = ("candidate", "input", "forget", "output")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        heads: int | None = None,
        timescales: str = "wide",
        recurrent_init: str = "uniform",
        recurrent_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.timescales = timescales
        self.recurrent_init, self.recurrent_scale = recurrent_init, recurrent_scale
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, 4 * hidden_size
        self.heads = choose_heads(hidden_size, heads)
        size = hidden_size // self.heads
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.recurrent = nn.Parameter(torch.empty(4, self.heads, size, size).uniform_(-(size**-0.5), size**-0.5))
        with torch.no_grad():
            self.from_input.bias[2 * hidden_size : 3 * hidden_size] = forget_biases(timescales, hidden_size)

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, H), and a stabiliser (B, H) far below every gate."""
        zeros = self.recurrent.new_zeros(batch_size, self.output_size)
        return zeros, zeros.clone(), zeros.clone(), torch.full_like(zeros, BEFORE_ALL)

    def gate_matrices(self) -> list[Tensor]:
        return [head for gate in self.recurrent for head in gate]

    def project(self, inputs: Tensor) -> Tensor:
        projected: Tensor = self.from_input(inputs)
        return projected

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """Of the recurrent matrices each head's is one by itself."""
        gates, heads, rows, _ = self.recurrent.shape
        yield self.from_input.weight, (self.output_size,) * gates
        yield self.recurrent, (rows,) * (gates * heads)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        """input is stored times exp(-m'), forget times exp(m - m')."""
        h, _, _, m = state
        heads = h.unflatten(1, (self.heads, -1)).transpose(0, 1)  # (heads, B, H / heads)
        products = (heads @ self.recurrent).transpose(1, 2).flatten(2)
        z, i, f, o = (projected.unflatten(1, (4, -1)).transpose(0, 1) + products).unbind(0)
        kept = F.logsigmoid(f) + m
        stabiliser = torch.maximum(kept, i)
        return {
            "candidate": torch.tanh(z),
            "input": torch.exp(i - stabiliser),
            "forget": torch.exp(kept - stabiliser),
            "output": torch.sigmoid(o),
            "stabiliser": stabiliser,
        }

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        seen = self.look(projected, state)
        c = seen["forget"] * state[1] + seen["input"] * seen["candidate"]
        n = seen["forget"] * state[2] + seen["input"]
        h = seen["output"] * c / n
        return h, (h, c, n, seen["stabiliser"])
