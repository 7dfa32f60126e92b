"""The transformer block, with a memory of the last positions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.band import ATTENTION, Band, bands, count_on, filled, following
from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.cells.feed_forward import FeedForward
from lmkit.model.cells.heads import choose_heads
from lmkit.model.cells.rotary import rotate
from lmkit.model.dropout import Dropout

__all__ = ["Transformer"]


class Transformer(Cell):
    """u = x + A(N(x)), y = u + F(N(u)): causal attention A over the last M positions, the own included, then a
    feed-forward network F, with layer normalisations N.

    Vaswani et al. (2017), arXiv 1706.03762, with the normalisations in front (Xiong et al. 2020, arXiv 2002.04745) and
    rotary positions (Su et al. 2021, arXiv 2104.09864). Keys are stored as they are and rotated by their distance, so
    it makes no difference how far into a text they stand. A stack of L blocks sees L (M - 1) + 1 tokens.

    context: M. top: whether a layer normalisation follows, as after the last block of a stack. Inputs of another size
    than H come in by a linear map. State: keys and values (B, M, heads, d) with d = H / heads, the newest last, and how
    many of them are filled (B,) int64.
    """

    state_names = ("keys", "values", "count")
    residual = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        heads: int | None = None,
        context: int = 128,
        top: bool = False,
        dropout: float = 0.0,
        locked: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size, self.projected_size = input_size, hidden_size, 4 * hidden_size
        self.heads, self.context = choose_heads(hidden_size, heads), context
        self.enter = nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.to_heads = nn.Linear(hidden_size, 3 * hidden_size)
        self.from_heads = nn.Linear(hidden_size, hidden_size)
        self.feed_forward = FeedForward(hidden_size)
        self.top = nn.LayerNorm(hidden_size) if top else nn.Identity()
        self.dropout = Dropout(dropout, locked=locked)

    @property
    def kept_size(self) -> int:
        return 20 * self.output_size + 2 * self.context

    def initial_state(self, batch_size: int) -> CellState:
        """No position: zeros, and counts of zero."""
        new_zeros, shape = self.norm.weight.new_zeros, (self.heads, self.output_size // self.heads)
        keys, values = (new_zeros(batch_size, self.context, *shape) for _ in range(2))
        return keys, values, new_zeros(batch_size, dtype=torch.int64)

    def project(self, inputs: Tensor) -> Tensor:
        """The residual stream, and query, key and value of all heads."""
        x = self.enter(inputs)
        return torch.cat([x, self.to_heads(self.norm(x))], dim=-1)

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """Queries, keys and values are apart; of the feed-forward network each matrix is one."""
        whole = set(self.feed_forward.parameters())
        for parameter, rows in super().gate_rows():
            yield parameter, (len(parameter),) if parameter in whole else rows

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        """attention (B, heads, M): the weights of the last positions, the own last, zero where there is none."""
        _, q, k, v = self._parts(projected)
        keys, _, count = self._remember(k, v, state)
        return {ATTENTION: self._weights(q, keys, count)}

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        x, q, k, v = self._parts(projected)
        keys, values, count = self._remember(k, v, state)
        mixed = torch.einsum("bhm,bmhd->bhd", self._weights(q, keys, count), values)
        x = x + self.from_heads(mixed.flatten(1))
        x = x + self.feed_forward(x)
        return self.top(x), (keys, values, count)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        x_TBH = self.enter(inputs)
        q, k, v = self.to_heads(self.norm(x_TBH)).unflatten(-1, (3, self.heads, -1)).unbind(-3)  # (T, B, heads, d)
        keys, values, count = following(state[0], k), following(state[1], v), state[2]
        mixed_TBH = torch.cat([self._attend(q, keys, values, band) for band in bands(len(x_TBH), self.context, count)])
        x_TBH = x_TBH + self.dropout(self.from_heads(mixed_TBH))
        x_TBH = x_TBH + self.dropout(self.feed_forward(x_TBH))
        last = (memory[:, -self.context :].contiguous() for memory in (keys, values))
        return self.top(x_TBH), (*last, count_on(count, len(x_TBH), self.context))

    def _parts(self, projected: Tensor) -> tuple[Tensor, ...]:
        """The stream (B, H), and query, key and value (B, heads, d)."""
        x, heads = projected.split((self.output_size, 3 * self.output_size), dim=-1)
        return x, *heads.unflatten(-1, (3, self.heads, -1)).unbind(-3)

    def _remember(self, k: Tensor, v: Tensor, state: CellState) -> tuple[Tensor, Tensor, Tensor]:
        keys, values = (
            torch.cat([memory[:, 1:], new[:, None].to(memory.dtype)], dim=1)
            for memory, new in zip(state, (k, v), strict=False)
        )
        return keys, values, count_on(state[2], 1, self.context)

    def _weights(self, q: Tensor, keys: Tensor, count: Tensor) -> Tensor:
        """What a query (B, heads, d), whose own position is the last, gives to keys (B, M, heads, d): (B, heads, M)."""
        query = rotate(q[:, None], self.context - 1)[:, 0]
        scores = torch.einsum("bhd,bmhd->bhm", query, rotate(keys)) * q.shape[-1] ** -0.5
        return scores.masked_fill(~filled(count, self.context)[:, None], -torch.inf).softmax(dim=-1)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, band: Band) -> Tensor:
        """A band of the queries (T, B, heads, d) over memory and window (B, M + T, heads, d): (N, B, H)."""
        query = rotate(q[band.steps].transpose(0, 1), self.context - 1)
        key, value = rotate(keys[:, band.positions]), values[:, band.positions]
        query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))  # heads before positions
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=band.seen[:, None])
        return mixed.permute(2, 0, 1, 3).flatten(2)
