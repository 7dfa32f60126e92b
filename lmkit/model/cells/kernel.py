"""Cells that torch has a module for: its parameters, its names of them and its kernels, with the steps written out."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.matrix import MatrixCell

__all__ = ["KernelCell"]


class KernelCell(MatrixCell):
    """A cell on one of torch's one-layer modules, which is named and stands behind it among the bases:
    ``class GRU(KernelCell, nn.GRU)`` with ``kernel = nn.GRU``.

    Parameters are in torch's layout, the gates stacked in torch's order: ``weight_ih_l0`` (gates * H, E),
    ``weight_hh_l0`` (gates * H, H) and two biases (gates * H,).
    """

    kernel: ClassVar[type[nn.RNNBase]]
    recurrent_matrices = ("weight_hh_l0",)
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
        **options: str,
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
        """By torch's kernel, which keeps a dimension for layers in front and takes two tensors of state as a pair."""
        wide: Any = tuple(value.unsqueeze(0) for value in state)
        outputs_TBD, last = self.kernel.forward(self, inputs, wide if len(wide) > 1 else wide[0])
        last = last if isinstance(last, tuple) else (last,)
        return outputs_TBD, tuple(value.squeeze(0) for value in last)
