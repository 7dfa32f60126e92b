"""A network that reads a sequence of numbers and answers at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lmkit.model.recurrent import RecurrentStack

__all__ = ["Reader"]


class Reader(nn.Module):
    """Recurrent layers of any cell, and a linear map of their last output. Letters of shapes are those of
    ``lmkit.model``. options: the cell's own.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        output_size: int,
        *,
        hidden_size: int,
        num_layers: int = 1,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.recurrent = RecurrentStack(cell, input_size, hidden_size, num_layers, options=options)
        self.output = nn.Linear(self.recurrent.output_size, output_size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (T, B, E) from the initial state: the answer of each row (B, O)."""
        outputs_TBD, _ = self.recurrent(inputs, self.recurrent.initial_state(inputs.shape[1]))
        answers: Tensor = self.output(outputs_TBD[-1])
        return answers

    def constrain(self) -> None:
        """Put parameters back into the bounds that the cells hold them in, after each update."""
        for cell in self.recurrent.cells:
            cell.constrain()
