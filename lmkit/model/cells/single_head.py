"""The single attention head of the SHA-RNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.output_attention import OutputAttention

__all__ = ["SingleHeadAttention"]


class SingleHeadAttention(OutputAttention):
    """r = sum_s w_s v m_s, w = softmax_s(q . (k m_s) / sqrt(D)), with a query q = a N''(W u + b) of u = N(x), and with
    vectors a, k, v in (0, 1), each the sigmoid of a parameter.

    Merity (2019), "Single Headed Attention RNN", arXiv 1911.11423, section 3: but for the query there is no matrix, so
    that the head costs little. The vector v, which the paper makes by a network of its own that does not depend on the
    input, is a parameter like the others here.
    """

    def __init__(self, size: int, *, context: int, dropout: float = 0.0, locked: bool = False) -> None:
        super().__init__(size, context=context, dropout=dropout, locked=locked)
        self.to_query = nn.Linear(size, size)
        self.norm_query = nn.LayerNorm(size)
        self.query_gate, self.key_gate, self.value_gate = (nn.Parameter(torch.zeros(size)) for _ in range(3))

    @property
    def kept_size(self) -> int:
        return 10 * self.output_size + 2 * self.context

    def query(self, normed: Tensor) -> Tensor:
        query: Tensor = self.norm_query(self.to_query(normed))
        return torch.sigmoid(self.query_gate) * query

    def scores(self, query_BD: Tensor, memory: Tensor) -> Tensor:
        return torch.einsum("bd,bmd->bm", query_BD, self._keys(memory)) * self.output_size**-0.5

    def read(self, weights: Tensor, memory: Tensor) -> Tensor:
        return weights @ self._values(memory)

    def attend(self, query: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        query, key, value = (one[:, None] for one in (query, self._keys(memory), self._values(memory)))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None])[:, 0]

    def _keys(self, memory: Tensor) -> Tensor:
        return torch.sigmoid(self.key_gate) * memory

    def _values(self, memory: Tensor) -> Tensor:
        return torch.sigmoid(self.value_gate) * memory
