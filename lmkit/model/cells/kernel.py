"""Cells that torch has a module for: its parameters, its names of them and its kernels, with the steps written out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.matrix import MatrixCell
from lmkit.model.recurrence import Weights

__all__ = ["KernelCell", "OwnKernelCell"]

KERNELS: dict[str, Callable[..., Any]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


class KernelCell(MatrixCell):
    """A cell on one of torch's one-layer modules, which stands behind it among the bases: ``class GRU(KernelCell,
    nn.GRU)``.

    Parameters are in torch's layout, the gates stacked in torch's order: ``weight_ih_l0`` (gates * H, E),
    ``weight_hh_l0`` (gates * H, H) and two biases (gates * H,).
    """

    recurrent_matrices = ("weight_hh_l0",)
    mode: str
    all_weights: list[list[nn.Parameter]]
    hidden_size: int
    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        recurrent_init: str = "uniform",
        recurrent_scale: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, **options)
        self.recurrent_init, self.recurrent_scale = recurrent_init, recurrent_scale
        self.projected_size = len(self.bias_ih_l0)
        self.output_size = hidden_size

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, H)."""
        return tuple(self.weight_hh_l0.new_zeros(batch_size, self.hidden_size) for _ in self.state_names)

    def gate_matrices(self) -> list[Tensor]:
        return list(self.weight_hh_l0.split(self.hidden_size))

    def project(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight_ih_l0, self.bias_ih_l0)

    def from_state(self, h: Tensor) -> Tensor:
        """The product with the state h (B, H) for all gates: (B, gates * H)."""
        return F.linear(h, self.weight_hh_l0, self.bias_hh_l0)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """By torch's kernel, which keeps a dimension for layers in front and takes two tensors of state as a pair.

        It is called with the weights that stand at their names. The forward pass of torch's module keeps a list of
        them, and after a call with others in their place (weight drop) it would move all weights on a GPU to new
        memory, which recorded steps do not know of.
        """
        wide = [value.unsqueeze(0) for value in state]
        kernel, (weights,) = KERNELS[self.mode], self.all_weights
        fixed = (True, 1, 0.0, self.training, False, False)  # biases, layers, dropout, training, both ways, batch first
        outputs_TBD, *last = kernel(inputs, wide if len(wide) > 1 else wide[0], weights, *fixed)
        return outputs_TBD, tuple(value.squeeze(0) for value in last)


class OwnKernelCell(KernelCell):
    """A cell that torch has and computes on a CPU as a loop of small operations: training on a CPU has a kernel of its
    own. kernel: ``own``, or ``torch``, whose bits runs of early versions have.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        kernel: str = "own",
        recurrent_init: str = "uniform",
        recurrent_scale: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(
            input_size, hidden_size, recurrent_init=recurrent_init, recurrent_scale=recurrent_scale, **options
        )
        self.kernel = kernel

    @abstractmethod
    def window(self, inputs: Tensor, h: Tensor, weights: Weights) -> Tensor:
        """Outputs (T, B, H) of inputs (T, B, E) from the state h (B, H), by the own kernel."""

    def by_torch(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """``forward`` by torch's kernel."""
        return super().forward(inputs, state)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """By the own kernel where gradients are wanted: without them torch's loop has little to do."""
        if self.kernel == "torch" or inputs.device.type != "cpu" or not torch.is_grad_enabled():
            return self.by_torch(inputs, state)
        weights = Weights(self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        outputs_TBD = self.window(inputs, state[0], weights)
        return outputs_TBD, (outputs_TBD[-1],)
