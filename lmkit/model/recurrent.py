"""A stack of recurrent layers with dropout between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lmkit.model.cells import CELLS, Cell
from lmkit.model.cells.cell import CellState
from lmkit.model.cells.output_attention import OutputAttention
from lmkit.model.cells.residual import ResidualBlock
from lmkit.model.cells.zoneout import Zoneout
from lmkit.model.dropout import dropout as drop
from lmkit.model.dropout import one_window, weight_dropout
from lmkit.model.state import State, scale_gradient

__all__ = ["RecurrentStack"]


class RecurrentStack(nn.Module):
    """Layers of one cell, with dropout between them, or on the branches of those that are residual.

    block: ``plain``, the cell as it is, or ``residual``, a block around it. options: the cell's own. weight_drop: share
    of the recurrent matrices that is dropped in training. zoneout: probability that a unit keeps its value.
    make_attention: makes a layer of attention that stands above the others, from the size of their outputs; None for no
    such layer. learned_state: whether the state before any input is made of parameters, which start as the cell's own
    initial state (Hinton 2012, Neural Networks for Machine Learning, lecture 7b); that of the attention is not.

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
        block: str = "plain",
        dropout: float = 0.0,
        locked: bool = False,
        weight_drop: float = 0.0,
        zoneout: float = 0.0,
        make_attention: Callable[..., OutputAttention] | None = None,
        learned_state: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.locked = locked
        self.weight_drop = weight_drop
        self.layers = nn.ModuleList()
        make: Callable[..., Cell] = partial(CELLS[cell], **(options or {}))
        make = partial(Zoneout, make, zoneout) if zoneout else make
        residual = block == "residual" or CELLS[cell].residual
        make_layer: Callable[..., Cell] = partial(ResidualBlock, make) if block == "residual" else make
        branches = {"dropout": dropout, "locked": locked} if residual else {}
        for number in range(num_layers):
            top = {"top": number == num_layers - 1} if residual else {}
            layer = make_layer(input_size, hidden_size, **branches, **top)
            self.layers.append(layer)
            input_size = layer.output_size
        self.attention = None if make_attention is None else make_attention(input_size, dropout=dropout, locked=locked)
        for layer in self.cells:
            layer.initialize()
        self.initial = nn.ModuleList(map(_learned_state, cast(Any, self.layers)) if learned_state else ())

    @property
    def cells(self) -> Iterator[Cell]:
        """The layers, from the input upwards."""
        yield from cast(Any, self.layers)
        if self.attention is not None:
            yield self.attention

    @property
    def output_size(self) -> int:
        """Size of the last layer's outputs."""
        return list(self.cells)[-1].output_size

    def initial_state(self, batch_size: int) -> State:
        """The state before any input: of each layer its own, tensors (B, ...)."""
        state = tuple(cell.initial_state(batch_size) for cell in self.cells)
        pairs = zip(self.cells, cast(Iterable[nn.ParameterDict], self.initial), state, strict=False)
        learned = tuple(_with_learned(*values) for values in pairs)
        return learned + state[len(learned) :]

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over inputs (T, B, E) from the state; return the last layer's outputs (T, B, D) and the new state."""
        outputs, (new_state,) = self.in_pieces(inputs, state, [len(inputs)])
        return outputs, new_state

    def in_pieces(
        self,
        inputs: Tensor,
        state: State,
        steps: Sequence[int],
        factor: float = 1.0,
        common: torch.Generator | None = None,
    ) -> tuple[Tensor, list[State]]:
        """The same in pieces of so many steps each, layer by layer, with the state after each piece. factor: what the
        gradient into the state between two pieces is multiplied by. common: draws the masks that all rows share, None
        for torch's own generator.
        """
        layers = []
        for number, (cell, values) in enumerate(zip(self.cells, state, strict=True)):
            if number > 0 and not cell.residual:
                inputs = drop(inputs, self.dropout, training=self.training, locked=self.locked)
            inputs, after = _in_pieces(cell, self._dropped(cell, common), inputs, values, steps, factor)
            layers.append(after)
        return inputs, list(zip(*layers, strict=True))

    def _dropped(self, cell: Cell, common: torch.Generator | None) -> Callable[..., tuple[Tensor, CellState]]:
        """A cell for a window, in training with some entries of its recurrent matrices dropped and the rest scaled up:
        one draw for the window and all of its rows.

        DropConnect (Wan et al. 2013) on hidden-to-hidden weights (Merity et al. 2018, arXiv 1708.02182, section 2).
        Parameters stay what they are: the cell computes with other tensors in their place.
        """
        if not self.training or self.weight_drop == 0:
            return cell
        rate = self.weight_drop
        matrices = {name: weight_dropout(cell.get_parameter(name), rate, common) for name in cell.recurrent_matrices}

        def run(*given: Any) -> tuple[Tensor, CellState]:
            computed: tuple[Tensor, CellState] = functional_call(cell, matrices, given)
            return computed

        return run


def _in_pieces(
    cell: Cell,
    run: Callable[..., tuple[Tensor, CellState]],
    inputs: Tensor,
    values: CellState,
    steps: Sequence[int],
    factor: float,
) -> tuple[Tensor, list[CellState]]:
    """``run`` computes what the cell does, with its masks."""
    if len(steps) == 1:
        outputs, values = run(inputs, values)
        return outputs, [values]
    found: list[Tensor] = []
    after: list[CellState] = []
    with one_window(cell) as begin_piece:
        for piece in inputs.split(list(steps)):
            begin_piece()
            values = values if factor == 1 or not after else scale_gradient(values, factor)
            outputs, values = run(piece, values)
            found.append(outputs)
            after.append(values)
    return torch.cat(found), after


def _learned_state(cell: Cell) -> nn.ParameterDict:
    """Parameters (...) for the tensors of a cell's initial state, by their names; none for what is empty."""
    first = zip(cell.state_names, cell.initial_state(1), strict=True)
    return nn.ParameterDict({name: nn.Parameter(tensor[0].clone()) for name, tensor in first if tensor.numel()})


def _with_learned(cell: Cell, learned: nn.ParameterDict, state: CellState) -> CellState:
    """The learned values (...) in each row of a state: copies, because parameters change in place."""
    pairs = zip(cell.state_names, state, strict=True)
    return tuple(
        learned[name].expand_as(own).clone(memory_format=torch.contiguous_format) if name in learned else own
        for name, own in pairs
    )
