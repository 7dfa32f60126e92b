"""The residual block around a recurrent cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.cells.feed_forward import FeedForward
from lmkit.model.dropout import Dropout

__all__ = ["CONV_WIDTH", "ResidualBlock"]

CONV_WIDTH = 4


class ResidualBlock(Cell):
    """u = x + C(conv(N(x))), y = u + F(N(u)): a cell C after a causal convolution, one for each unit, over the last 4
    inputs, then a feed-forward network F, with layer normalisations N.

    What those blocks have in common that modern cells were published with: Griffin's (De et al. 2024, arXiv
    2402.19427), xLSTM's (Beck et al. 2024, arXiv 2405.04517) and the minGRU's (Feng et al. 2024, arXiv 2410.01201);
    without the gated branches of the first two.

    make_cell: makes C from input size and hidden size. top: whether a layer normalisation follows, as after the last
    block of a stack. Inputs of another size than H, and outputs of C of another size, come in by a linear map. State:
    that of C, and the inputs (B, 3, H) of the convolution before, zeros before the first.
    """

    residual = True

    def __init__(
        self,
        make_cell: Callable[[int, int], Cell],
        input_size: int,
        hidden_size: int,
        *,
        top: bool = False,
        dropout: float = 0.0,
        locked: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, hidden_size
        self.enter = nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        bound = CONV_WIDTH**-0.5
        vectors = (torch.empty(hidden_size).uniform_(-bound, bound) for _ in range(CONV_WIDTH))
        self.conv = nn.ParameterList(vectors)  # the oldest first
        self.conv_bias = nn.Parameter(torch.zeros(hidden_size))
        self.cell = make_cell(hidden_size, hidden_size)
        same = self.cell.output_size == hidden_size
        self.leave = nn.Identity() if same else nn.Linear(self.cell.output_size, hidden_size)
        self.feed_forward = FeedForward(hidden_size)
        self.top = nn.LayerNorm(hidden_size) if top else nn.Identity()
        self.dropout = Dropout(dropout, locked=locked)
        self.state_names = (*self.cell.state_names, "conv")
        self.recurrent_matrices = tuple(f"cell.{name}" for name in self.cell.recurrent_matrices)
        self.gate_names = self.cell.gate_names

    @property
    def kept_size(self) -> int:
        return self.cell.kept_size + 18 * self.output_size

    def initialize(self) -> None:
        self.cell.initialize()

    def constrain(self) -> None:
        self.cell.constrain()

    def initial_state(self, batch_size: int) -> CellState:
        """That of the cell, and zeros."""
        before = self.norm.weight.new_zeros(batch_size, CONV_WIDTH - 1, self.output_size)
        return *self.cell.initial_state(batch_size), before

    def project(self, inputs: Tensor) -> Tensor:
        """The residual stream."""
        stream: Tensor = self.enter(inputs)
        return stream

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """Those of the cell; each of the block's own matrices is one."""
        yield from self.cell.gate_rows()
        of_cell = set(self.cell.parameters())
        for parameter in self.parameters():
            if parameter.dim() > 1 and parameter not in of_cell:
                yield parameter, (len(parameter),)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        """What the cell names."""
        convolved, _ = self._convolve(projected, state)
        return self.cell.look(self.cell.project(convolved), state[:-1])

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        convolved, before = self._convolve(projected, state)
        outputs, of_cell = self.cell.step(self.cell.project(convolved), state[:-1])
        x = projected + self.leave(outputs)
        x = x + self.feed_forward(x)
        return self.top(x), (*of_cell, before)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        x_TBH = self.enter(inputs)
        normed = self.norm(x_TBH)
        seen = torch.cat([state[-1].transpose(0, 1), normed.to(state[-1].dtype)])
        steps = len(inputs)
        convolved = sum((seen[i : i + steps] * weight for i, weight in enumerate(self.conv)), self.conv_bias)
        outputs, of_cell = self.cell(convolved, state[:-1])
        x_TBH = x_TBH + self.dropout(self.leave(outputs))
        x_TBH = x_TBH + self.dropout(self.feed_forward(x_TBH))
        return self.top(x_TBH), (*of_cell, seen[steps:].transpose(0, 1).contiguous())

    def _convolve(self, x_BH: Tensor, state: CellState) -> tuple[Tensor, Tensor]:
        """The convolution's output (B, H) at one step, and the inputs that the next one finds before it."""
        seen = torch.cat([state[-1], self.norm(x_BH)[:, None]], dim=1)
        convolved = self.conv_bias + (seen * torch.stack(list(self.conv))).sum(1)
        return convolved, seen[:, 1:]
