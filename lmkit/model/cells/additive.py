"""Additive attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.model.cells.output_attention import OutputAttention

__all__ = ["AdditiveAttention"]


class AdditiveAttention(OutputAttention):
    """r = C sum_s w_s m_s + c, w = softmax_s(v . tanh(W u + U m_s + b)) with u = N(x).

    Bahdanau, Cho & Bengio (2015), arXiv 1409.0473, appendix A.1.2, over the network's own outputs. A step keeps M times
    D numbers for its gradient.
    """

    def __init__(self, size: int, *, context: int, dropout: float = 0.0, locked: bool = False) -> None:
        super().__init__(size, context=context, dropout=dropout, locked=locked)
        self.to_query = nn.Linear(size, size, bias=False)
        self.to_keys = nn.Linear(size, size)
        self.weigh = nn.Parameter(torch.empty(size).uniform_(-(size**-0.5), size**-0.5))
        self.from_memory = nn.Linear(size, size)

    @property
    def kept_size(self) -> int:
        return (self.context + 10) * self.output_size + 2 * self.context

    def query(self, normed: Tensor) -> Tensor:
        query: Tensor = self.to_query(normed)
        return query

    def scores(self, query_BD: Tensor, memory: Tensor) -> Tensor:
        return torch.tanh(query_BD[:, None] + self.to_keys(memory)) @ self.weigh

    def read(self, weights: Tensor, memory: Tensor) -> Tensor:
        found: Tensor = self.from_memory(weights @ memory)
        return found

    def attend(self, query: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        """No more is computed than what is seen: (B, N, M, D)."""
        keys = self.to_keys(memory).unfold(1, self.context, 1).transpose(2, 3)
        scores = torch.tanh(query[:, :, None] + keys) @ self.weigh
        device = query.device
        positions = torch.arange(query.shape[1], device=device)[:, None] + torch.arange(self.context, device=device)
        unseen = ~seen.gather(2, positions.expand(len(seen), -1, -1))
        weights = scores.masked_fill(unseen, -torch.inf).softmax(dim=-1)
        banded = weights.new_zeros(*query.shape[:2], memory.shape[1])
        return self.read(banded.scatter(2, positions.expand(len(query), -1, -1), weights), memory)
