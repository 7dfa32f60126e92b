"""A stack of recurrent layers with dropout between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor, nn

from lmkit.model.cells import CELLS, Cell
from lmkit.model.dropout import dropout as drop
from lmkit.model.state import State

__all__ = ["RecurrentStack"]


class RecurrentStack(nn.Module):
    """Layers of one cell, with dropout between them; ``options`` are the cell's own.

    One module per layer rather than torch's own multi-layer module: the state of each layer is then a value of its
    own, and every layer can take the fastest kernel.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        dropout: float = 0.0,
        locked: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.locked = locked
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            layer = CELLS[cell](input_size, hidden_size, **(options or {}))
            self.layers.append(layer)
            input_size = layer.output_size
        for layer in self.cells:
            layer.initialize()

    @property
    def cells(self) -> Iterator[Cell]:
        """The layers, from the input upwards."""
        return iter(cast(Any, self.layers))

    @property
    def output_size(self) -> int:
        """Size of the last layer's outputs."""
        return list(self.cells)[-1].output_size

    def initial_state(self, batch_size: int) -> State:
        """The state before any input: of each layer its own, tensors (B, ...)."""
        return tuple(cell.initial_state(batch_size) for cell in self.cells)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over inputs (T, B, E) from the state; return the last layer's outputs (T, B, D) and the new state."""
        new_state = []
        for number, (cell, values) in enumerate(zip(self.cells, state, strict=True)):
            if number > 0:
                inputs = drop(inputs, self.dropout, training=self.training, locked=self.locked)
            inputs, values = cell(inputs, values)
            new_state.append(values)
        return inputs, tuple(new_state)
