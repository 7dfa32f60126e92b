"""The plain recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.cells.kernel import OwnKernelCell
from lmkit.model.recurrence import Weights, rnn

__all__ = ["RNN"]

NONLINEARITIES = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}
KERNELS = ("tanh", "relu")


class RNN(OwnKernelCell, nn.RNN):  # type: ignore[misc]  # forward has the signature of cells
    """h' = tanh(W x + b + U h + c), or with another nonlinearity.

    Elman (1990), "Finding structure in time", whose own one is the sigmoid. nonlinearity: ``tanh``, ``relu``, or
    ``sigmoid``, for which torch has no kernel: without gradients it is computed step by step.
    """

    state_names = ("h",)
    gate_names = ("preactivation",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        kernel: str = "own",
        recurrent_init: str = "uniform",
        recurrent_scale: float = 1.0,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            nonlinearity=nonlinearity if nonlinearity in KERNELS else KERNELS[0],
            kernel=kernel,
            recurrent_init=recurrent_init,
            recurrent_scale=recurrent_scale,
        )
        self.nonlinearity = nonlinearity

    def by_torch(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        if self.nonlinearity in KERNELS:
            return super().by_torch(inputs, state)
        return Cell.forward(self, inputs, state)

    def window(self, inputs: Tensor, h: Tensor, weights: Weights) -> Tensor:
        return rnn(inputs, h, weights, self.nonlinearity)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        return {"preactivation": projected + self.from_state(state[0])}

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        h = NONLINEARITIES[self.nonlinearity](self.look(projected, state)["preactivation"])
        return h, (h,)
