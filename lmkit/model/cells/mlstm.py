"""The mLSTM: an LSTM whose memory is a matrix for each head, trained chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.cells.heads import choose_heads
from lmkit.model.cells.timescales import forget_biases
from lmkit.model.widened import widened

__all__ = ["MLSTM"]

CHUNK = 64
LARGEST_FLOOR = 60.0  # as a logarithm: what is divided by more is nothing, and infinity has no gradient


class MLSTM(Cell):
    """C' = f C + i v k^T, n' = f n + i k, h' = o C' q / max(|n' q|, 1), with i = exp(...), f and o sigmoids, by head.

    Beck et al. (2024), "xLSTM", arXiv 2405.04517, section 2.3. Nothing but the input decides the gates. C and n are
    stored times exp(-m) with the stabiliser m' = max(log f + m, log i), so the floor of the denominator is exp(-m), and
    h is the same whatever the chunks. State: C (B, heads, d, d), n (B, heads, d) and m (B, heads), with d = H / heads.
    timescales: how the forget gates of the heads start (``forget_biases``).
    """

    state_names = ("C", "n", "m")

    def __init__(
        self, input_size: int, hidden_size: int, *, heads: int | None = None, timescales: str = "wide"
    ) -> None:
        super().__init__()
        self.timescales = timescales
        self.heads = choose_heads(hidden_size, heads)
        self.input_size, self.output_size = input_size, hidden_size
        self.projected_size = 4 * hidden_size + 2 * self.heads
        self.linear = nn.Linear(input_size, self.projected_size)
        with torch.no_grad():
            self.linear.bias[-self.heads :] = forget_biases(timescales, self.heads)

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros."""
        size = self.output_size // self.heads
        new_zeros = self.linear.weight.new_zeros
        return (
            new_zeros(batch_size, self.heads, size, size),
            new_zeros(batch_size, self.heads, size),
            new_zeros(batch_size, self.heads),
        )

    def project(self, inputs: Tensor) -> Tensor:
        projected: Tensor = self.linear(inputs)
        return projected

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        yield self.linear.weight, (self.output_size,) * 4 + (self.heads,) * 2

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        """input and forget (B, heads) as logarithms."""
        *_, o, log_i, log_f = self._parts(projected)
        return {"output": o.flatten(-2), "log input": log_i, "log forget": log_f}

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        memory, n, m = state
        q, k, v, o, log_i, log_f = self._parts(projected)
        stabiliser = torch.maximum(log_f + m, log_i)
        f, i = torch.exp(log_f + m - stabiliser), torch.exp(log_i - stabiliser)
        memory = f[..., None, None] * memory + i[..., None, None] * v[..., :, None] * k[..., None, :]
        n = f[..., None] * n + i[..., None] * k
        read = (memory @ q[..., None]).squeeze(-1)
        weight = torch.maximum((n * q).sum(-1).abs(), _floor(stabiliser))
        return (o * read / weight[..., None]).flatten(-2), (memory, n, stabiliser)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        outputs = []
        for projected_TBP in self.project(inputs).split(CHUNK):
            output_TBD, state = self._chunk(projected_TBP, state)
            outputs.append(output_TBD)
        return torch.cat(outputs), state

    def _parts(self, projected: Tensor) -> tuple[Tensor, ...]:
        """q, k, v and the output gate (..., heads, d), log i and log f (..., heads), at least in float32."""
        wide, gates = projected.split((4 * self.output_size, 2 * self.heads), dim=-1)
        q, k, v, o = wide.unflatten(-1, (4, self.heads, -1)).unbind(-3)
        log_i, f = widened(gates).chunk(2, dim=-1)
        return q, k * k.shape[-1] ** -0.5, v, torch.sigmoid(o), log_i, F.logsigmoid(f)

    def _chunk(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """Steps (T, B, P) at once: what each step reads of those before it in the chunk, and of the memory before it.

        With F_t the sum of log f up to t, step s weighs exp(F_t - F_s + log i_s) at t and the memory before the chunk
        exp(F_t + m); the largest of these exponents is the stabiliser that the steps would come to.
        """
        memory, n, m = state
        q, k, v, o, log_i, log_f = (part.movedim(0, 2) for part in self._parts(projected))  # (B, heads, T, ...)
        sums = log_f.cumsum(-1)
        later = torch.ones(len(projected), len(projected), dtype=torch.bool, device=sums.device).triu(1)
        within = (sums[..., :, None] - sums[..., None, :] + log_i[..., None, :]).masked_fill(later, -torch.inf)
        before = sums + m[..., None]
        stabiliser = torch.maximum(within.amax(-1), before)
        weights = torch.exp(within - stabiliser[..., None])  # (B, heads, T, T)
        carried = torch.exp(before - stabiliser)[..., None]
        seen = weights * (q @ k.transpose(-1, -2))
        read = seen @ v + carried * (q @ memory.transpose(-1, -2).to(q.dtype))
        denominator = seen.sum(-1, keepdim=True) + carried * (q @ n[..., None].to(q.dtype))
        output = o * read / torch.maximum(denominator.abs(), _floor(stabiliser)[..., None])
        last, kept = weights[..., -1, :, None], carried[..., -1, :]
        memory = kept[..., None] * memory + (last * v).transpose(-1, -2) @ k.to(last.dtype)
        n = kept * n + (last * k).sum(-2)
        return output.movedim(2, 0).flatten(-2), (memory, n, stabiliser[..., -1])


def _floor(stabiliser: Tensor) -> Tensor:
    """The smallest denominator: 1 of the equations, times exp(-m) as n is."""
    return torch.exp((-stabiliser).clamp_max(LARGEST_FLOOR))
