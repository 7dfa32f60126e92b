"""Cells in which matrix products lead from a state to the next, and how these matrices start."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import Cell

__all__ = ["MatrixCell"]

STARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda drawn: drawn,
    "orthogonal": nn.init.orthogonal_,
    "identity": nn.init.eye_,
}


class MatrixCell(Cell):
    """A cell with a matrix from the state to each gate of the next step.

    recurrent_init: what each of them starts as: ``uniform`` within 1 / sqrt(H), as it is drawn; ``orthogonal`` (Saxe,
    McClelland & Ganguli 2014, arXiv 1312.6120); ``identity`` (Le, Jaitly & Hinton 2015, arXiv 1504.00941).
    recurrent_scale: what that is multiplied by.
    """

    recurrent_init: str
    recurrent_scale: float

    @abstractmethod
    def gate_matrices(self) -> list[Tensor]:
        """The matrices that the state is multiplied by, gate by gate, and head by head where a cell has heads: parts of
        the parameters, not copies.
        """

    @torch.no_grad()
    def initialize(self) -> None:
        for matrix in self.gate_matrices():
            STARTS[self.recurrent_init](matrix).mul_(self.recurrent_scale)
