"""Attention of one head over the outputs of the layers below it, behind the contract of a cell."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from lmkit.model.cells.band import ATTENTION, bands, count_on, filled, following
from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.dropout import Dropout

__all__ = ["OutputAttention"]


class OutputAttention(Cell):
    """y = N(x) + r, where r is read from the last M of m = N'(x), the own included, with layer normalisations N, N'.

    context: M. Inputs and outputs have one size D. State: the memory (B, M, D), the newest last, and how many of its
    positions are filled (B,) int64.
    """

    state_names = ("memory", "count")
    residual = True

    def __init__(self, size: int, *, context: int, dropout: float = 0.0, locked: bool = False) -> None:
        super().__init__()
        self.input_size, self.output_size, self.projected_size = size, size, 3 * size
        self.context = context
        self.norm, self.norm_memory = nn.LayerNorm(size), nn.LayerNorm(size)
        self.dropout = Dropout(dropout, locked=locked)

    @abstractmethod
    def query(self, normed: Tensor) -> Tensor:
        """What asks the memory, of N(x) (..., D): (..., D)."""

    @abstractmethod
    def scores(self, query_BD: Tensor, memory: Tensor) -> Tensor:
        """What a query gives to each position of a memory (B, M, D) before the softmax: (B, M)."""

    @abstractmethod
    def read(self, weights: Tensor, memory: Tensor) -> Tensor:
        """What comes of a memory (B, L, D) by weights (B, N, L) of its positions: (B, N, D)."""

    @abstractmethod
    def attend(self, query: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        """``read`` by the softmax of ``scores``, for queries (B, N, D) each of which sees M positions of a memory
        (B, M + N - 1, D), the next one a position later: (B, N, D). seen: (B or 1, N, M + N - 1) bool.
        """

    def initial_state(self, batch_size: int) -> CellState:
        """No position: zeros, and counts of zero."""
        new_zeros = self.norm.weight.new_zeros
        return new_zeros(batch_size, self.context, self.output_size), new_zeros(batch_size, dtype=torch.int64)

    def project(self, inputs: Tensor) -> Tensor:
        """N(x), the query, and what is remembered."""
        return torch.cat(self._parts(inputs), dim=-1)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        """attention (B, 1, M): the weights of the last positions, the own last, zero where there is none."""
        _, query, new = projected.chunk(3, dim=-1)
        return {ATTENTION: self._weights(query, *self._remember(new, state))}

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        normed, query, new = projected.chunk(3, dim=-1)
        memory, count = self._remember(new, state)
        return normed + self.read(self._weights(query, memory, count), memory)[:, 0], (memory, count)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        normed, query, new = self._parts(inputs)
        memory, count = following(state[0], new), state[1]
        found = [
            self.attend(query[band.steps].transpose(0, 1), memory[:, band.positions], band.seen).transpose(0, 1)
            for band in bands(len(inputs), self.context, count)
        ]
        last = memory[:, -self.context :].contiguous(), count_on(count, len(inputs), self.context)
        return normed + self.dropout(torch.cat(found)), last

    def _parts(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed = self.norm(inputs)
        return normed, self.query(normed), self.norm_memory(inputs)

    def _remember(self, new: Tensor, state: CellState) -> tuple[Tensor, Tensor]:
        return torch.cat([state[0][:, 1:], new[:, None]], dim=1), count_on(state[1], 1, self.context)

    def _weights(self, query_BD: Tensor, memory: Tensor, count: Tensor) -> Tensor:
        """(B, 1, M)."""
        scores = self.scores(query_BD, memory).masked_fill(~filled(count, self.context), -torch.inf)
        return scores.softmax(dim=-1)[:, None]
