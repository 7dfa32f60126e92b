"""The simple recurrent unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.widened import widened

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
        candidate, gates = widened(self.linear(inputs)).split((self.output_size, 2 * self.output_size), dim=-1)
        return torch.cat([candidate, gates + self.bias, widened(self.highway(inputs))], dim=-1)

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
        """All products at once; what is left for each step is elementwise."""
        outputs, c = cast(Any, _Steps).apply(
            widened(self.linear(inputs)),
            widened(self.highway(inputs)),
            self.bias.view(2, -1),
            self.weight_c.view(2, -1),
            state[0],
        )
        return outputs, (c,)


class _Steps(torch.autograd.Function):
    """The outputs (T, B, H) and the last c (B, H) from the products (T, B, 3 H) of the candidate and of both gates, the
    highway (T, B, H), the gates' biases and weights (2, H), and the first c (B, H). Step by step both ways, as the
    numbers of one step stay in a processor's cache.
    """

    @staticmethod
    def forward(
        ctx: Any, products_TBP: Tensor, highway_TBH: Tensor, bias_GH: Tensor, weight_GH: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        w_TBH, into_TBGH = _parts(products_TBP)
        gates_TBGH, outputs = torch.empty_like(into_TBGH), torch.empty_like(highway_TBH)
        values = [start.to(products_TBP.dtype)]
        for w, into, x, gates, output in zip(w_TBH, into_TBGH, highway_TBH, gates_TBGH, outputs, strict=True):
            torch.sigmoid(torch.addcmul(into + bias_GH, weight_GH, values[-1][:, None]), out=gates)
            forget, reset = gates.unbind(dim=1)
            values.append(torch.lerp(w, values[-1], forget))
            torch.lerp(x, values[-1], reset, out=output)
        ctx.save_for_backward(w_TBH, highway_TBH, gates_TBGH, weight_GH, *values)
        ctx.start = start.dtype
        return outputs, values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, of_last: Tensor) -> tuple[Tensor, ...]:
        """With gates f and r of u: h depends on r by c' - x, on c' by r; c' on f by c - w, on c by f; and u on c."""
        w_TBH, x_TBH, gates_TBGH, weight_GH, *values = ctx.saved_tensors
        of_products, of_x_TBH = w_TBH.new_empty(*w_TBH.shape[:2], 3 * w_TBH.shape[2]), torch.empty_like(x_TBH)
        of_w_TBH, of_u_TBGH = _parts(of_products)
        of_bias, of_weight, away = (torch.zeros_like(gates_TBGH[0]) for _ in range(3))
        of_c = of_last
        steps = (values[:-1], values[1:], w_TBH, x_TBH, gates_TBGH, grad, of_w_TBH, of_x_TBH, of_u_TBGH)
        for before, c, w, x, gates, of_h, of_w, of_x, of_u in zip(*map(_backwards, steps), strict=True):
            forget, reset = gates.unbind(dim=1)
            of_c = torch.addcmul(of_c, of_h, reset)
            torch.sub(before, w, out=away[:, 0]).mul_(of_c)
            torch.sub(c, x, out=away[:, 1]).mul_(of_h)
            torch.mul(torch.addcmul(gates, gates, gates, value=-1), away, out=of_u)
            of_bias.add_(of_u)
            of_weight.addcmul_(of_u, before[:, None])
            torch.addcmul(of_c, of_c, forget, value=-1, out=of_w)
            torch.addcmul(of_h, of_h, reset, value=-1, out=of_x)
            of_c = of_c.mul_(forget).addcmul_(of_u[:, 0], weight_GH[0]).addcmul_(of_u[:, 1], weight_GH[1])
        return of_products, of_x_TBH, of_bias.sum(dim=0), of_weight.sum(dim=0), of_c.to(ctx.start)


def _parts(products_TBP: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the candidate (T, B, H) and of the gates f and r (T, B, 2, H)."""
    size = products_TBP.shape[-1] // 3
    return products_TBP[..., :size], products_TBP[..., size:].unflatten(-1, (2, size))


def _backwards(steps: Sequence[Tensor] | Tensor) -> Iterator[Tensor]:
    return reversed(tuple(steps))
